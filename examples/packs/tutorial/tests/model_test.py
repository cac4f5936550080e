"""Test the outputs of the container, on the CPU or on the devices in TEST_DEVICES: TEST_DEVICES=-1,0 pytest ..."""

from pathlib import Path

import pytest

from dlbs.packs.container_model import devices_to_test, load_model
from dlbs.packs.definition import find_pack

PACK = str(Path(__file__).parent.parent)


@pytest.mark.parametrize("device", devices_to_test())
def test_known_outputs(device):
    model = load_model(find_pack(PACK), device=device)
    assert model.predict(text="abc") == "cba"
    assert model.predict_batch([{"text": "abc"}, {"text": "123"}]) == ["cba", "321"]
