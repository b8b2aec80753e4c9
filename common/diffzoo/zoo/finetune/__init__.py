"""Fine-tuning: a new bundle from another one and local data. Light: its modules come when they are used."""
