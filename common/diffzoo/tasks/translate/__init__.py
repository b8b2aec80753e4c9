"""One image of a person from others: missing contrasts of a brain MR, CT from MR, a better CT from a poor one."""
