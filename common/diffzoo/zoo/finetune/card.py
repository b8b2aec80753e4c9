"""The model card of a fine-tuned bundle, and the licences of its data."""

from collections.abc import Mapping

from diffzoo.tasks.task import task_of
from diffzoo.zoo.card import SECTIONS, folded, header, parts
from diffzoo.zoo.finetune.words import LOCAL, Story, table

CARD = (
    """{header}# {name}: fine-tuned from {parent}

<!-- summary -->
{summary}
<!-- /summary -->

## Use
```
diffzoo run {name} -i {scan} -o out
diffzoo evaluate {name} --data DATALIST -o out
python -m monai.bundle run --config_file configs/inference.yaml --bundle_root . --dataset_dir {scan}
```
- in: {accepts}
- out: {gives}

## Results
{headline}.

{table}

"{parent}" is the same evaluation with the weights that it started from. Validation chose among the weights; the test list was
measured once. The metrics of each case are in results.json.

{curve}![A simulated scan](preview.png)

The scan above is simulated: the bundle holds no picture of a patient.

## Training
{how}.{log} What made it:
```
{command}
```
{again}

## Data
{data}. Files are told by pseudonym and sha256 alone, in metadata.json.

"""
    + SECTIONS
)
AGAIN = "The same steps again, by MONAI's own command, with the list and the parent's weights at hand:\n```\n{}\n```"
TAKEN = "`configs/train.yaml` trains on from there."


def card(story: Story, metadata: Mapping, results: Mapping, run: str) -> str:
    """docs/README.md; run: the command that trains again."""
    trained = story.choices.steps != 0
    return CARD.format(
        name=story.name,
        parent=story.parent.name,
        table=folded(table(results, story.parent.name)),
        how=story.how[:1].upper() + story.how[1:],
        command=story.command,
        again=AGAIN.format(run) if trained else TAKEN,
        curve="![Loss and validation](loss.png)\n\n" if trained else "",
        log=" `configs/train.yaml` is how, `train_log.jsonl` the log." if trained else "",
        data=f"{story.counts[:1].upper()}{story.counts[1:]}; {story.data}",
        scan=task_of(metadata["kind"]).example,
        references="\n".join(f"- {reference}" for reference in metadata["references"]),
        code=metadata["licenses"]["code"],
        terms=metadata["licenses"]["weights"],
        header=header(metadata),
        **parts(metadata),
        **{key: metadata[key] for key in ("accepts", "gives", "headline", "intended_use", "limits")},
    )


def data_license(story: Story) -> str:
    """docs/data_license.txt."""
    theirs = (story.parent.root / "docs" / "data_license.txt").read_text(encoding="utf-8")
    own = f"{LOCAL}: data of whoever fine-tuned the bundle. They are not published, and no image is part of this bundle.\n"
    return (
        f"Licences of the data behind {story.name}\n\n1. Fine-tuned and measured on\n\n{own}\n2. {story.named} tells\n\n{theirs}"
    )
