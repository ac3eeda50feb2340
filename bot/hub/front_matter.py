"""The YAML at the top of a model card, which the Hub reads: licence, languages, parents, tags and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from templates.escaping import link_target, plain

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from bot.hub.licences import ReleaseLicence


@dataclass(frozen=True)
class DrawnPrompt:
    """A prompt, its negative prompt ("" for none), and the file in the repo with the picture that the model drew."""

    prompt: str
    negative: str
    picture: str

    def as_widget(self) -> dict[str, object]:
        """An entry of the metadata `widget`, as the Hub documents it for image generators."""
        parameters = {"parameters": {"negative_prompt": plain(self.negative)}} if self.negative else {}
        return {"text": plain(self.prompt), **parameters, "output": {"url": self.picture}}


def write_front_matter(
    licence: ReleaseLicence | None,
    parents: Sequence[str],
    tags: Sequence[str],
    library: str,
    pipeline_tag: str,
    *,
    name: str | None = None,
    languages: Sequence[str] = (),
    results: Sequence[EvalResult] = (),
    widget: Sequence[DrawnPrompt] = (),
    thumbnail: str | None = None,
) -> str:
    """A merge's front matter with its dashes, as huggingface_hub writes it; every value is one line.

    parents: repos of the merged models; folders cannot be named here. name: the model's name, needed with results.
    widget: pictures that the model drew. thumbnail: address of the picture that stands for it where others link to it.
    """
    from huggingface_hub import ModelCardData

    pictures: dict[str, Any] = {"widget": [one.as_widget() for one in widget]} if widget else {}
    if thumbnail:
        pictures["thumbnail"] = link_target(thumbnail)
    repos = [plain(parent) for parent in dict.fromkeys(parents)]
    data = ModelCardData(
        model_name=plain(name) if name else None,
        license=plain(licence.id) if licence else None,
        license_name=plain(licence.name) if licence and licence.name else None,
        license_link=link_target(licence.link) if licence and licence.link else None,
        language=[plain(language) for language in languages] or None,
        library_name=library,
        pipeline_tag=plain(pipeline_tag),
        base_model=repos or None,
        base_model_relation="merge" if repos else None,
        tags=list(tags),
        eval_results=list(results) or None,
        **pictures,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"
