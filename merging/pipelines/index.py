"""A pipeline before any of its files is read: what its model_index.json and the names of its files say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.errors import MergingError
from merging.pipelines.diffusers_classes import class_bases, is_known_class, text_to_image_classes

INDEX = "model_index.json"
"""The file that lists a pipeline's components."""

COMPONENTS_KEY = "components"
"""The key of a pipeline's config under which the configs of its components are, by folder."""

DENOISERS = ("unet", "transformer")
"""The folders of denoisers: a pipeline has one."""

VAE, DENOISER, SCHEDULER = "VAE", "denoiser", "scheduler"

SCHEDULER_CONFIG = "scheduler_config.json"

_NUMBERS = ("", "_2", "_3")
"""Ends of the folders of text encoders, and of their tokenizers: no pipeline that is merged has more of them."""

TEXT_ENCODERS = tuple(f"text_encoder{number}" for number in _NUMBERS)
TOKENIZERS = tuple(f"tokenizer{number}" for number in _NUMBERS)

MODELS = (*DENOISERS, "vae", *TEXT_ENCODERS, "image_encoder", "safety_checker")
"""The folders of components with weights. Pipelines with others are refused: their files would not be carried over."""

_KNOWN = frozenset({*MODELS, SCHEDULER, "feature_extractor", *TOKENIZERS})

_TRANSFORMERS = ("a model of transformers", frozenset({"PreTrainedModel"}))
_FITTING: Mapping[str, tuple[str, frozenset[str]]] = {
    "unet": ("a denoiser of diffusers", frozenset({"ModelMixin"})),
    "transformer": ("a denoiser of diffusers", frozenset({"ModelMixin"})),
    "vae": ("an autoencoder of diffusers", frozenset({"AutoencoderMixin"})),
    "text_encoder": _TRANSFORMERS,
    "image_encoder": _TRANSFORMERS,
    "safety_checker": _TRANSFORMERS,
    "tokenizer": (
        "a tokenizer",
        frozenset({"PreTrainedTokenizerBase", "ProcessorMixin", "AutoTokenizer", "AutoProcessor"}),
    ),
    SCHEDULER: ("a scheduler", frozenset({"SchedulerMixin"})),
    "feature_extractor": ("an image processor", frozenset()),
}
"""Folder without its number → what lies in it, and the classes of which its class inherits one."""

NO_MERGEKIT = "mergekit does not merge pipelines."
"""The place of the recipe that mergekit would read."""

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".msgpack", ".h5")
_WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(?:\.(?P<variant>[A-Za-z]\w*))?(?:-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?"
    r"(?:\.(?P<legacy_variant>[A-Za-z]\w*))?\.safetensors"
)
_WEIGHTS_INDEX = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)\.safetensors\.index(?:\.(?P<variant>[A-Za-z]\w*))?\.json"
)


@dataclass(frozen=True)
class WeightFiles:
    """The weight files of one component in one variant.

    folder: the component's. single: the name of its one file, without shards. index: the name of the shards' index.
    shards: the names of the shards. One of `single` and `index` is "".
    """

    folder: str
    stem: str
    variant: str
    single: str = ""
    index: str = ""
    shards: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All of the files, by their paths in the pipeline's folder."""
        names = filter(None, (self.single, self.index, *self.shards))
        return tuple(f"{self.folder}/{name}" if self.folder else name for name in names)

    def plain_name(self, name: str) -> str:
        """The name that one of the files has where there is one variant alone: without the variant."""
        return name.replace(f".{self.variant}", "", 1) if self.variant else name


def component_name(folder: str) -> str:
    """What a component is called: "denoiser", "text encoder", "text encoder 2", "VAE"."""
    return DENOISER if folder in DENOISERS else VAE if folder == "vae" else folder.replace("_", " ")


def component_folder(name: str) -> str:
    """The folder of a component that `component_name` called this; not of a denoiser, which has one of several."""
    return "vae" if name == VAE else name.replace(" ", "_")


def listed_components(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The folder of each component that a pipeline has → the library and the class in its model_index.json."""
    entries = {key: value for key, value in index.items() if not key.startswith("_") and isinstance(value, list)}
    return {folder: (str(value[0]), str(value[1])) for folder, value in entries.items() if len(value) == 2 and value[1]}


def denoiser_folder(index: Mapping[str, Any]) -> str:
    """The folder of a pipeline's denoiser; MergingError if it has none, or two."""
    found = [folder for folder in DENOISERS if folder in listed_components(index)]
    if len(found) != 1:
        raise MergingError(f"{INDEX}: got {len(found)} denoisers: a pipeline of one unet or one transformer is needed")
    return found[0]


def find_index_fault(index: Mapping[str, Any]) -> str | None:
    """The reason why a pipeline with this model_index.json is refused; None if it is not."""
    name = index.get("_class_name")
    if isinstance(name, list):
        return f"it needs custom code (its pipeline is {'.'.join(map(str, name))[:60]})"
    if name not in text_to_image_classes():
        return f"its architecture {str(name)[:60]} is not a text-to-image pipeline"
    for key, value in index.items():
        if isinstance(value, list) and not key.startswith("_") and not _is_entry(value):
            return f"{INDEX} has {str(value)[:60]} for {key[:60]}, where a library and a class are due"
    for folder, (library, class_name) in listed_components(index).items():
        if not folder.isidentifier():
            return f"its component {folder[:60]!r} has a name that no folder has"
        if folder not in _KNOWN:
            return f"its component {folder[:60]} is of a kind that shoal cannot carry over"
        if not is_known_class(library, class_name):
            known = "a class of diffusers or transformers"
            return f"its component {folder[:60]} is {library[:60]}.{class_name[:60]}, not {known}"
        if not _fits(folder, library, class_name):
            return f"its component {folder} is {library[:60]}.{class_name[:60]}, not {_FITTING[_stem(folder)][0]}"
    try:
        denoiser_folder(index)
    except MergingError as error:
        return str(error)
    return None


def find_files_fault(index: Mapping[str, Any], files: Iterable[str]) -> str | None:
    """The reason why a pipeline is refused for its files; None if it is not.

    files: their paths in the pipeline's folder.
    """
    try:
        weight_files(index, files)
    except MergingError as error:
        return str(error)
    return None


def needed_files(index: Mapping[str, Any], files: Iterable[str], companions: Iterable[str]) -> frozenset[str]:
    """The paths of the files that a merge needs: of each listed component the weights of one variant, and its settings.

    Whatever else a repo has, such as checkpoints in one file, other variants and formats, or unlisted components, is
    left out. companions: of the files that may belong to a pipeline beside its weights. MergingError as `weight_files`.
    """
    there, listed = set(files), set(listed_components(index))
    weights = {path for one in weight_files(index, there).values() for path in one.paths}
    beside = {path for path in there.intersection(companions) if path.rpartition("/")[0] in listed}
    return frozenset({INDEX} | weights | beside)


def weight_files(index: Mapping[str, Any], files: Iterable[str]) -> dict[str, WeightFiles]:
    """The weight files of each component that has weights, by folder: those without a variant before others.

    files: the paths of all files in the pipeline's folder. MergingError, in a few words, for a component without files
    or without its config, with pickled weights alone, or with parts of several variants.
    """
    inside: dict[str, list[str]] = defaultdict(list)
    for path in files:
        folder, slash, name = path.partition("/")
        if slash and "/" not in name:
            inside[folder].append(name)
    found = {}
    for folder in listed_components(index):
        names = inside[folder]
        if not names:
            raise MergingError(f"it lacks its component {folder}: {INDEX} lists it, and no file of it is there")
        if folder == SCHEDULER and SCHEDULER_CONFIG not in names:
            raise MergingError(f"its component {folder} has no {SCHEDULER_CONFIG}")
        if folder in MODELS:
            if "config.json" not in names:
                raise MergingError(f"its component {folder} has no config.json")
            found[folder] = _choose_variant(folder, names)
    return found


def _choose_variant(folder: str, names: Iterable[str]) -> WeightFiles:
    names = list(names)
    variants = _read_variants(folder, names)
    complete = sorted(variant for variant, files in variants.items() if files)
    if complete:
        chosen = variants[complete[0]]  # "" comes before every other
        assert chosen is not None
        return chosen
    if len(variants) > 1:
        seen = ", ".join(variant or "plain" for variant in sorted(variants))
        raise MergingError(f"its component {folder} mixes files of several variants ({seen}), and none is complete")
    if variants:
        raise MergingError(f"its component {folder} lacks some of its weight files: it has shards without the others")
    if pickles := sorted(name for name in names if name.endswith(_PICKLES)):
        raise MergingError(f"its component {folder} has pickled weights alone ({pickles[0][:60]})")
    raise MergingError(f"it lacks its component {folder}: there are no weights in safetensors")


def _read_variants(folder: str, names: Iterable[str]) -> dict[str, WeightFiles | None]:
    """Variant → its files; None where some of them are missing."""
    singles: dict[str, re.Match[str]] = {}
    indices: dict[str, re.Match[str]] = {}
    shards: dict[str, list[re.Match[str]]] = defaultdict(list)
    for name in sorted(names):
        if found := _WEIGHTS.fullmatch(name):
            variant = found["variant"] or found["legacy_variant"] or ""
            if found["shard"]:
                shards[variant].append(found)
            else:
                singles[variant] = found
        elif found := _WEIGHTS_INDEX.fullmatch(name):
            indices[found["variant"] or ""] = found
    chosen: dict[str, WeightFiles | None] = dict.fromkeys((*singles, *indices, *shards))
    for variant in chosen:
        parts = shards[variant]
        if variant in singles:
            single = singles[variant]
            chosen[variant] = WeightFiles(folder, single["stem"], variant, single=single[0])
        elif variant in indices and parts and len(parts) == int(parts[0]["shards"]):
            index, listed = indices[variant], tuple(part[0] for part in parts)
            chosen[variant] = WeightFiles(folder, index["stem"], variant, index=index[0], shards=listed)
    return chosen


def _fits(folder: str, library: str, class_name: str) -> bool:
    """Whether a known class is one that a folder of this name holds; anything else would be asked to load files."""
    if folder == "feature_extractor":  # by its name: to import one without torchvision prints advice
        return "Processor" in class_name or "FeatureExtractor" in class_name
    bases = class_bases(library, class_name)
    return not bases or not bases.isdisjoint(_FITTING[_stem(folder)][1])


def _stem(folder: str) -> str:
    """The folder's name without its number."""
    return re.sub(r"_\d$", "", folder)


def _is_entry(value: list[object]) -> bool:
    empty = all(part is None for part in value)
    return len(value) == 2 and (empty or all(isinstance(part, str) and part for part in value))
