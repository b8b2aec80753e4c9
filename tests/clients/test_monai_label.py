"""MONAI Label 0.8.5: its bundle infer task on every bundle.

The task alone, without the server: monailabel is installed without what it asks for, since it wants numpy 1, pydicom 2 and CUDA's
torchvision. It calls an inferer with the image alone, so a subclass of ten lines (drivers/label.py) hands over the conditions.
"""

import pytest
from checks import same_volumes

WANTED = ("itk", "pynrrd", "shapely", "expiring_dict", "pydantic-settings", "setuptools<81")


@pytest.fixture(scope="module")
def label(client):
    return client("monai_label", WANTED, alone=["monailabel==0.8.5"])


def test_the_infer_task_gives_what_diffzoo_gives(label, case):
    answer = label.driver("label", bundle=str(case.root), inputs=case.inputs, volumes=list(case.expected))
    assert answer["valid"] and answer["version"] == case.metadata["version"]
    same_volumes(answer["volumes"], case.expected)
