"""A generator in the making: the configs of this folder, of which a test makes a small bundle that knows next to nothing."""

import json
import shutil
from pathlib import Path

from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.facts import sha256
from diffzoo.zoo.new import train
from diffzoo.zoo.new.configs import narrowed, with_values
from diffzoo.zoo.new.simulate import simulate

HERE = Path(__file__).parent
SHORT = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "augmented": 1}


def make(root: Path) -> Path:
    """A bundle whose every stage trained for two steps on simulated heads."""
    data = root.parent / "simulated"
    simulate("brain", data, cases=3)
    for part in ("models", "docs"):
        (root / part).mkdir(parents=True)
    shutil.copytree(HERE / "configs", root / "configs")
    for path in root.glob("configs/*.yaml"):
        text = narrowed(path.read_text())
        path.write_text(with_values(text, {"ema_decay": 0.5}) if path.stem == "train" else text)
    train.plain_template(Bundle(root), data, root / "models" / "template.safetensors")
    for stage in train.stages_of(Bundle(root)):
        train.trained(Bundle(root), data, root.parent / stage[-1], stage, SHORT)
        shutil.copyfile(root.parent / stage[-1] / "model.safetensors", root / "models" / "model.safetensors")
    train.few_styles(Bundle(root), data, root / "models" / "styles.safetensors")
    path = root / "configs" / "metadata.json"
    weights = {"weights_sha256": sha256(root / "models" / "model.safetensors")}
    path.write_text(json.dumps(json.loads(path.read_text()) | weights))
    return root
