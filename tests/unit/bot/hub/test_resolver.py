from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bot.hub.client import Hub
from bot.hub.inspection.member import Unfit
from bot.hub.resolver import Resolver, open_weights, source_folder
from fixtures.tiny_models import tiny_model
from merging.identity import ModelId
from merging.sources.adapter import AdapterCheckpoint
from merging.sources.checkpoint import Checkpoint

NO_HUB = Hub("http://127.0.0.1:9", sleep=lambda _: None)


def test_an_identity_opens_a_checkpoint_or_an_adapter_on_one(tmp_path: Path) -> None:
    import peft  # takes a second, and every process that runs tests reads this file

    model = tiny_model("llama", seed=1)
    model.save_pretrained(tmp_path / "cod")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "lora")
    adapter = ModelId("reef/lora", "2" * 40)
    adapted = ModelId("reef/cod", "1" * 40, adapter)
    folders = {adapted.plain: tmp_path / "cod", adapter: tmp_path / "lora"}
    plain, changed = open_weights(adapted.plain, folders), open_weights(adapted, folders)
    assert isinstance(plain, Checkpoint) and isinstance(changed, AdapterCheckpoint)
    assert plain.names == changed.names
    same = [torch.equal(plain.tensor(name), changed.tensor(name)) for name in plain.names]
    assert same == ["q_proj" not in name for name in plain.names]


def test_spellings_of_a_folder_have_one_identity(tmp_path: Path) -> None:
    (tmp_path / "cod").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "cod")
    resolver = Resolver(NO_HUB, tmp_path)
    written = [ModelId(name) for name in ("cod", "./cod/", "link", str(tmp_path / "cod"))]
    assert {resolver.identify(model) for model in written} == {ModelId(str((tmp_path / "cod").resolve()))}
    assert resolver.find_spellings(written) == dict.fromkeys(written[1:], written[0])
    adapted = [ModelId("cod", None, ModelId(name)) for name in ("cod", "link")]
    assert resolver.find_spellings([written[0], *adapted]) == {adapted[1]: adapted[0]}
    with pytest.raises(Unfit, match="no such folder"):
        resolver.identify(ModelId("./lost"))


@pytest.mark.parametrize("name", ["cod@main", "cod+lora@main"])
def test_a_revision_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    tiny_model("llama", seed=1).save_pretrained(tmp_path / "cod")
    (tmp_path / "lora").mkdir()
    with pytest.raises(Unfit, match="a folder has no revisions"):
        Resolver(NO_HUB, tmp_path).resolve(ModelId.parse(name))


def test_a_fetched_repo_has_a_folder_for_each_commit(tmp_path: Path) -> None:
    assert source_folder(tmp_path, ModelId("reef/cod", "abc")) == tmp_path / "reef--cod" / "abc"
