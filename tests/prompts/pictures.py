"""Pictures, rows with pictures, and a small processor, for tests."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> "
    "{% if m.content is string %}{{ m.content }}{% else %}{% for item in m.content %}"
    "{% if item.type == 'text' %}{{ item.text }}{% else %}<image>{% endif %}{% endfor %}{% endif %}"
    " {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def picture(number: int, side: int = 30) -> Image.Image:
    """A picture that no other number has."""
    made = Image.linear_gradient("L").resize((side, side + number)).convert("RGB")
    made.putpixel((0, 0), (number, 10, 20))
    return made


def content(number: int, form: str = "PNG") -> bytes:
    """The bytes of a picture's file."""
    file = io.BytesIO()
    picture(number).save(file, form)
    return file.getvalue()


def pixels(sample: Any) -> list[bytes]:
    """The pictures of a sample."""
    images = (sample.multimodal_inputs or {}).get("images") or []
    return [image.convert("RGB").tobytes() for image in images]


def text_of(number: int) -> str:
    """A picture as base64."""
    return base64.b64encode(content(number)).decode()


def rows_with_pictures(folder: Path) -> list[dict[str, Any]]:
    """Rows whose pictures are paths, base64 and data URIs; one, two or none in a row."""
    for number in range(3):
        (folder / f"{number}.png").write_bytes(content(number))
    path = [str(folder / f"{number}.png") for number in range(3)]
    chat = [
        {"role": "system", "content": "you see"},
        {"role": "user", "content": "<image> and <image> are what?"},
    ]
    return [
        {"input": "what is <image> this?", "images": [path[0]], "label": "a"},
        {"input": chat, "images": [path[1], path[2]], "label": "b"},
        {"input": "<image>", "images": [text_of(3)], "label": "c", "metadata": {"n": 1}},
        {"input": "this? <image>", "images": [f"data:image/png;base64,{text_of(4)}"], "label": "d"},
        {"input": "no picture", "images": [], "label": "e"},
        {"input": "<image> what", "images": [{"type": "image", "image": path[0]}], "label": "f"},
    ]


def checkpoint_with_processor(folder: Path) -> str:
    """A folder with a real processor of Llava's kind: pictures of 28 x 28, patches of 14 x 14."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.clip import image_processing_pil_clip as clip

    words = {word: at for at, word in enumerate(["[UNK]", "what", "is", "<image>", "this?"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = transformers.PreTrainedTokenizerFast
    images: Any = clip.CLIPImageProcessorPil
    processor: Any = transformers.LlavaProcessor
    made = processor(
        image_processor=images(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=fast(
            tokenizer_object=tokenizer,
            unk_token="[UNK]",
            pad_token="[UNK]",
            extra_special_tokens={"image_token": "<image>"},
        ),
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
    )
    made.save_pretrained(folder)
    named = folder / "tokenizer_config.json"
    named.write_text(json.dumps({**json.loads(named.read_text()), "chat_template": TEMPLATE}))
    return str(folder)


def processor_in(folder: Path) -> Any:
    """The processor of ``checkpoint_with_processor``, loaded."""
    from transformers import AutoProcessor

    load: Any = AutoProcessor.from_pretrained
    return load(checkpoint_with_processor(folder))
