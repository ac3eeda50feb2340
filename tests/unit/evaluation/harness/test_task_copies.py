"""The task files that travel with a release: what a task needs, and nothing else of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.harness import task_copies
from evaluation.harness.task_copies import copy_task_files
from fixtures.boards import write_board_task, write_task_file
from fixtures.picture_tasks import write_picture_task
from zoo.questions import TASKS


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


YAML = "task: {0}\noutput_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\ntest_split: test\n"


def test_the_zoos_task_comes_with_its_module_and_its_data_alone() -> None:
    copies = copy_task_files(["zoo_math_ja"], [TASKS])
    assert set(copies.files) == {"math_ja.yaml", "jsonl.py", "math_ja_search.jsonl", "math_ja_test.jsonl"}
    assert copies.files["jsonl.py"] == (TASKS / "jsonl.py").read_bytes()
    assert (copies.folders, copies.left_out) == ((".",), ())


def test_tasks_of_prompts_come_with_their_judges_and_all_their_prompts(tmp_path: Path) -> None:
    (folder := tmp_path / "tasks").mkdir()
    write_picture_task(folder, dataset={"train": "more.txt", "test": "colours.jsonl"})
    write(folder, more__txt="a cat\n", secret__py="")
    copies = copy_task_files(["colours"], [folder])
    assert set(copies.files) == {"colours.yaml", "colours.py", "colours.jsonl", "more.txt"} and not copies.left_out


def test_data_may_be_named_without_their_suffix() -> None:
    """As the zoo's function does, which reads lines and the sheet of their pictures by one name."""
    copies = copy_task_files(["zoo_captions"], [TASKS])
    expected = {"vision_captions.yaml", "pictures.py", "vision_captions.jsonl", "vision_captions.png"}
    assert set(copies.files) == expected and copies.left_out == ()


def test_includes_imports_and_data_are_followed_and_secrets_beside_them_stay(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "tasks",
        mine__yaml="include: base.yml\n" + YAML.format("mine"),
        base__yml="dataset_path: json\ndataset_kwargs: {data_files: {test: data.jsonl}}\n"
        "process_docs: !function code.prepare\n",
        code__py="import helper\nTABLE = 'table.csv'\n\ndef prepare(docs):\n    return docs\n",
        helper__py="",
        data__jsonl="{}\n",
        table__csv="",
        secret__env="TOKEN=1",
        other__yaml=YAML.format("other"),
    )
    copies = copy_task_files(["mine"], [folder])
    assert set(copies.files) == {"mine.yaml", "base.yml", "code.py", "helper.py", "data.jsonl", "table.csv"}


def test_files_outside_the_folder_and_large_ones_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, outside__jsonl='{"picture": "private.png"}\n')
    text = (
        YAML.format("mine") + f"dataset_kwargs: {{data_files: {{test: {tmp_path}/outside.jsonl, more: big.jsonl}}}}\n"
    )
    folder = write(tmp_path / "tasks", mine__yaml=text, big__jsonl="x" * 2000, private__png="x")
    (folder / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    monkeypatch.setattr(task_copies, "LARGEST_FILE", 1000)
    copies = copy_task_files(["mine"], [folder])
    assert set(copies.files) == {"mine.yaml"}
    assert sorted(copies.left_out) == [
        "big.jsonl: it has more than 1,000 bytes",
        "outside.jsonl: it is outside the task folder",
    ]


def test_tasks_of_several_folders_stay_apart(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, task__yaml=YAML.format(name)) for name in ("one", "two"))
    copies = copy_task_files(["one", "two"], [one, two])
    assert set(copies.files) == {"1/task.yaml", "2/task.yaml"} and copies.folders == ("1", "2")


def test_pictures_that_the_data_name_come_after_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_board_task(tmp_path / "tasks", count=3)
    write(folder / "boards", unused__png="x", secret__env="TOKEN=1")
    (folder / "data").mkdir()
    (folder / "data" / "table.csv").write_text("picture,colour\nboards/unused.png,red\n../../outside.png,blue\n")
    (tmp_path / "outside.png").write_text("x")
    named = {"board_say.yaml", "boards.jsonl", "boards/0.png", "boards/1.png", "boards/2.png"}
    assert set(copy_task_files(["board_say"], [folder]).files) == named
    write_task_file(folder, "board_table", dataset_kwargs={"data_files": {"test": "data/table.csv"}})
    copies = copy_task_files(["board_table"], [folder])
    assert set(copies.files) == {"board_table.yaml", "data/table.csv", "boards/unused.png"}
    small = sum(len(content) for name, content in copies.files.items() if not name.endswith("png"))
    monkeypatch.setattr(task_copies, "LARGEST_COPY", small)
    copies = copy_task_files(["board_table"], [folder])
    assert set(copies.files) == {"board_table.yaml", "data/table.csv"}
    assert sorted(copies.left_out) == [
        "outside.png: it is outside the task folder",
        "unused.png: it has more than 0 bytes",
    ]


def test_a_folder_of_pictures_comes_whole_where_it_is_the_data_set(tmp_path: Path) -> None:
    folder = write_board_task(tmp_path / "tasks", count=2)
    (folder / "boards" / "metadata.jsonl").write_text("{}")
    write_task_file(folder, "board_folder", dataset_path="imagefolder", dataset_kwargs={"data_dir": "boards"})
    copies = copy_task_files(["board_folder"], [folder])
    named = {"board_folder.yaml", "boards/0.png", "boards/1.png", "boards/metadata.jsonl"}
    assert set(copies.files) == named
    write(folder, notes__txt="private", letters__json="{}", secret__env="TOKEN=1")
    (folder / ".env").write_text("TOKEN=1")
    write_task_file(folder, "board_all", dataset_path="imagefolder", dataset_kwargs={"data_dir": "."})
    copies = copy_task_files(["board_all"], [folder])
    assert set(copies.files) == {"board_all.yaml", *(name for name in named if "/" in name)} and not copies.left_out
    for outside in ("..", str(tmp_path)):
        write_task_file(folder, "board_all", dataset_path="imagefolder", dataset_kwargs={"data_dir": outside})
        copies = copy_task_files(["board_all"], [folder])
        assert set(copies.files) == {"board_all.yaml"}
        assert copies.left_out == (f"{tmp_path.name}: it is outside the task folder",)
    (folder / "plain.yaml").write_text(f"# data_dir: . or notes.txt\n{YAML.format('plain')}metadata: {{data_dir: .}}\n")
    assert set(copy_task_files(["plain"], [folder]).files) == {"plain.yaml"}
