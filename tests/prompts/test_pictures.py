"""Rows with pictures and other media."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from PIL import Image

from curriculum_learning import ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.samples.codec import decode, encode
from tests.harness import check_resume, data_source, interrupt, write_rows
from tests.prompts.pictures import (
    checkpoint_with_processor,
    content,
    picture,
    pixels,
    rows_with_pictures,
    text_of,
)

KEYS = {"image": "images"}


def over(path: str, **changes: Any) -> DataSource:
    """A data source over one file."""
    values = {"prompt_data": path, "multimodal_keys": KEYS, "n_samples_per_prompt": 2}
    return DataSource({**values, **changes})


def expected(*numbers: int) -> list[bytes]:
    """Pictures by their numbers."""
    return [picture(number).tobytes() for number in numbers]


def test_pictures_are_put_into_the_messages_and_loaded(tmp_path: Path) -> None:
    """Each placeholder is the next entry of the column, whatever the entry's form."""
    source = over(write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path)))
    samples = [group[0] for group in source.get_samples(6)]
    wanted = [(0,), (1, 2), (3,), (4,), (), (0,)]
    assert [pixels(sample) for sample in samples] == [expected(*numbers) for numbers in wanted]
    assert samples[0].prompt == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is "},
                {"type": "image", "image": str(tmp_path / "0.png")},
                {"type": "text", "text": " this?"},
            ],
        }
    ]
    assert [item["type"] for item in samples[1].prompt[1]["content"]] == [
        "image", "text", "image", "text",
    ]  # fmt: skip
    assert samples[4].multimodal_inputs == {"images": None, "videos": None}
    assert all(sample.multimodal_inputs["videos"] is None for sample in samples)


def test_bytes_and_pictures_of_data_sets(tmp_path: Path) -> None:
    """Parquet's bytes, and the pictures of a saved data set, are pictures too."""
    table = {"input": ["<image> a", "<image> b"], "images": [[content(1)], [content(2, "BMP")]]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    column = datasets.Sequence(datasets.Image())
    features = datasets.Features({"input": datasets.Value("string"), "images": column})
    (tmp_path / "three.png").write_bytes(content(3))
    files = {"input": ["<image> c"], "images": [[str(tmp_path / "three.png")]]}
    datasets.Dataset.from_dict(files, features).save_to_disk(tmp_path / "saved")
    source = over([str(tmp_path / "a.parquet"), str(tmp_path / "saved")], data_source_weights=[2, 1])  # type: ignore[arg-type]  # fmt: skip  # noqa: E501
    found = {tuple(pixels(group[0])) for group in source.get_samples(3)}
    assert found == {tuple(expected(number)) for number in (1, 2, 3)}


def test_samples_share_no_picture(tmp_path: Path) -> None:
    """An engine that changes a picture changes that of one sample."""
    source = over(write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path)[:1]))
    first, second = source.get_samples(1)[0]
    first.multimodal_inputs["images"][0].putpixel((5, 5), (1, 2, 3))
    assert pixels(second) == expected(0)
    assert pixels(source.get_samples(1)[0][0]) == expected(0)


def test_pictures_survive_returns_and_states(tmp_path: Path) -> None:
    """A group that comes back, and one in a state, has its pictures and what was made of them."""
    path = write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path))
    source = over(path)
    (group, _) = source.get_samples(2)
    for sample in interrupt(group):
        sample.multimodal_inputs["images"].append(picture(9))
        sample.multimodal_train_inputs = {"pixel_values": [1.0, 2.0]}
    source.add_samples([group])
    state = source.state_dict()
    for resumed in (source, over(path)):
        if resumed is not source:
            resumed.load_state_dict(state)
        (again,) = resumed.get_samples(1)
        assert [pixels(sample) for sample in again] == [expected(0, 9)] * 2
        assert again[0].multimodal_train_inputs == {"pixel_values": [1.0, 2.0]}


def test_a_run_with_pictures_resumes_exactly(tmp_path: Path) -> None:
    """Rows with and without pictures, in one run, go on as if it had not been cut."""
    args = {
        "prompt_data": [
            write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path)),
            write_rows(tmp_path / "b.jsonl", ({"input": f"text {n}"} for n in range(5))),
        ],
        "multimodal_keys": {"a": KEYS},
        "data_source_weights": [1, 2],
        "rollout_shuffle": True,
    }

    def serve(source: DataSource, step: int) -> list[Any]:
        samples = [group[0] for group in source.get_samples(2 + step)]
        return [(sample.prompt, pixels(sample)) for sample in samples]

    check_resume(lambda: DataSource(args), serve, 5, tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I", "F", "LA", "I;16"])
def test_a_state_holds_pictures_of_every_mode(mode: str) -> None:
    """The pixels, the palette and the transparent colour are the same afterwards."""
    made = picture(3).convert("L" if mode == "I;16" else mode)
    made = made.convert(mode) if mode != "I;16" else Image.new("I;16", (7, 5), 40_000)
    made.info["transparency"] = 3
    again = decode(encode({"images": [made]}))["images"][0]
    assert (again.mode, again.size, again.tobytes()) == (made.mode, made.size, made.tobytes())
    assert again.info["transparency"] == 3
    if mode == "P":
        assert again.convert("RGB").tobytes() == made.convert("RGB").tobytes()


def test_damaged_pictures_in_a_state_are_refused() -> None:
    """A picture whose size is not that of its bytes is an error, and takes no memory."""
    data = encode([picture(1)])
    huge = data.replace(b"\xa3RGB\x1e\x1f", b"\xa3RGB\x7f\x1f")
    assert huge != data
    with pytest.raises(ValueError, match="a picture of 127 x 31"):
        decode(huge)
    with pytest.raises(ValueError, match="which a checkpoint cannot hold"):
        encode([Image.new("RGB", (0, 5))])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a processor."""
    return checkpoint_with_processor(tmp_path_factory.mktemp("checkpoint"))


def test_lengths_count_pictures(tmp_path: Path, checkpoint: str) -> None:
    """The processor says how many tokens a prompt with its pictures has."""
    path = write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path))
    settings = {"hf_checkpoint": checkpoint, "apply_chat_template": True}
    whole = over(path, **settings, rollout_max_prompt_len=1000)
    processors: Any = transformers.AutoProcessor
    processor = processors.from_pretrained(checkpoint)
    lengths = {}
    for sample, _ in whole.get_samples(6):
        read = processor(text=sample.prompt, images=sample.multimodal_inputs["images"])
        lengths[sample.prompt] = len(read["input_ids"][0])
    assert len(set(lengths.values())) > 2
    for limit in range(min(lengths.values()), max(lengths.values())):
        source = over(path, **settings, rollout_max_prompt_len=limit)
        kept = {group[0].prompt for group in source.get_samples(len(source))}
        assert kept == {prompt for prompt, length in lengths.items() if length <= limit}


def test_lengths_need_a_processor(tmp_path: Path, checkpoint: str) -> None:
    """A checkpoint with a tokenizer only cannot say how long a prompt with pictures is."""
    tokenizer: Any = transformers.AutoTokenizer
    tokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path / "text")
    path = write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path))
    settings = {"hf_checkpoint": str(tmp_path / "text"), "apply_chat_template": True}
    assert len(over(path, **settings)) == 6
    with pytest.raises(ConfigurationError, match="no processor that can be loaded"):
        over(path, **settings, rollout_max_prompt_len=8)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in a folder."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_pictures_of_a_server_are_fetched_when_served(tmp_path: Path, server: str) -> None:
    """The start asks the server for none; a picture that it has not is an error with its row."""
    (tmp_path / "there.png").write_bytes(content(5))
    rows = [{"input": "<image>", "images": [f"{server}/{n}.png"]} for n in ("there", "gone")]
    source = over(write_rows(tmp_path / "a.jsonl", rows))
    assert pixels(source.get_samples(1)[0][0]) == expected(5)
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: .*gone\.png' cannot be read: .*404"):
        source.get_samples(1)


def broken(folder: Path, images: Any, text: str = "<image>") -> str:
    """A file whose second row cannot be used."""
    rows = [{"input": "<image>", "images": [text_of(1)]}, {"input": text, "images": images}]
    return write_rows(folder / "a.jsonl", rows)


@pytest.mark.parametrize(
    ("images", "text", "problem"),
    [
        (["nowhere.png"], "<image>", r"picture 'nowhere.png' cannot be read"),
        ([text_of(1)] * 2, "<image>", r"column 'images' has 1 more than the prompt has <image>"),
        ([text_of(1)], "<image> <image>", r"more <image> in the prompt than entries of image"),
        ([text_of(1)[:40]], "<image>", "cannot be read"),
        ([5], "<image>", "is a int, not a path, a URL, base64 or bytes"),
    ],
)
def test_a_bad_picture_is_found_at_the_start(
    tmp_path: Path, images: Any, text: str, problem: str
) -> None:
    """A missing picture, no picture and a wrong number of them are errors with their row."""
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: .*{problem}"):
        over(broken(tmp_path, images, text))


def test_a_damaged_picture_is_named_when_it_is_served(tmp_path: Path) -> None:
    """A picture with a good head that is cut off is an error with its row, and draws nothing."""
    (tmp_path / "cut.png").write_bytes(content(1)[:-40])
    source = over(broken(tmp_path, [str(tmp_path / "cut.png")]))
    source.get_samples(1)
    for _ in range(2):
        with pytest.raises(DataError, match=r"line 2: the picture '.*cut\.png' is damaged"):
            source.get_samples(1)


def test_columns_are_checked(tmp_path: Path) -> None:
    """multimodal_keys names kinds of media and columns; for all sources or for each."""
    for wrong in ({"picture": "images"}, {"image": 3}, "images", {"a": {"image": 3}}):
        with pytest.raises(ConfigurationError, match="multimodal_keys"):
            data_source(tmp_path, {"a": 3}, multimodal_keys=wrong)
    assert data_source(tmp_path, {"a": 3}, multimodal_keys={"image": "images"})


@pytest.mark.parametrize("rows", [[], ["--rows", "a=6"]])
def test_preview_knows_pictures(tmp_path: Path, checkpoint: str, rows: list[str]) -> None:
    """It measures prompts with their pictures; with --rows it needs neither them nor a model."""
    path = write_rows(tmp_path / "a.jsonl", rows_with_pictures(tmp_path))
    config = tmp_path / "run.yaml"
    model = "nowhere" if rows else checkpoint
    config.write_text(
        f"prompt_data: {path}\nmultimodal_keys: {{image: images}}\nhf_checkpoint: {model}\n"
        "apply_chat_template: true\nrollout_max_prompt_len: 9\nnum_rollout: 3\n"
        "rollout_batch_size: 1\n",
        encoding="utf-8",
    )
    assert main(["preview", str(config), "--no-picture", *rows]) == 0
