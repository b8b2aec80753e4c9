"""MONAI Deploy App SDK 4.0.0: its bundle operator, in an application, on every bundle.

The SDK lets an operator be derived "for specific bundles"; drivers/deploy.py does so, and tells why.
"""

import pytest
from checks import same_volumes


@pytest.fixture(scope="module")
def deploy(client):
    # without highdicom even `import monai` fails beside the SDK
    return client("monai_deploy", ["monai-deploy-app-sdk==4.0.0", "highdicom"])


def test_the_bundle_operator_gives_what_diffzoo_gives(deploy, case, tmp_path):
    told = {"bundle": str(case.root), "inputs": case.inputs, "volumes": list(case.expected), "output": str(tmp_path)}
    same_volumes(deploy.driver("deploy", **told)["volumes"], case.expected)
