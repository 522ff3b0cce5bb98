"""Read a model's MoE shape and expert tensors from the Hugging Face Hub.

Every failure is a HubError with a text of one line. The Hub is at HF_ENDPOINT if that is set. Files are kept in huggingface_hub's own
cache, which is used for a config if the Hub does not answer. No weights are fetched: of a safetensors file only the header is read, by a
range request.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from .expert_tensors import ExpertMetadata, group
from .hub_config import shape_in
from .presets import MoeShape, presets

INSTEAD = "preset, since "
"""The beginning of the note of a preset that is used because the Hub has no answer."""


class HubError(Exception):
    """Raised if the Hub has no usable answer; the text is one line that says what happened and what to do."""


_SAID: dict[type[Exception], str] = {
    OfflineModeIsEnabled: "huggingface_hub is offline and its cache has no answer; unset HF_HUB_OFFLINE",
    HFValidationError: "not a model id; it must have the form owner/name",
    GatedRepoError: "gated; ask for access at {endpoint}/{model_id}, then run `hf auth login` or set HF_TOKEN",
    RepositoryNotFoundError: "not at {endpoint}, or private; check the name, or run `hf auth login` or set HF_TOKEN",
    RevisionNotFoundError: "has no such revision at {endpoint}; check the branch, tag or commit",
    NotASafetensorsRepoError: "has no model.safetensors and no index of several; its tensors cannot be listed",
    SafetensorsParsingError: "the header of a safetensors file is malformed; tell its author, or try another revision",
    LocalEntryNotFoundError: "{endpoint} did not give the file, and it is not in the cache; try again later",
    EntryNotFoundError: "has no {file}; it is not a model that transformers loads",
    json.JSONDecodeError: "{endpoint} answered with malformed JSON ({error}); tell its author, or try another revision",
}
"""The text for an error, that of the first class that fits; the most special classes are first."""


def get_expert_metadata(model_id: str, revision: str | None = None) -> ExpertMetadata:
    """Return the expert tensors of a model's safetensors files, with shapes and dtypes, grouped by pattern. Raises HubError.

    - ``revision`` is a branch, a tag or a commit, by default the head of main.
    """
    with _one_line(model_id):
        api = _api()
        # request this first: later calls report a missing repository as one without safetensors
        commit = api.model_info(model_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        files = api.get_safetensors_metadata(model_id, revision=commit).files_metadata.values()
        tensors = {name: (tensor.shape, tensor.dtype) for file in files for name, tensor in file.tensors.items()}
        experts = group(tensors)
    if not experts:
        raise HubError(f"{model_id}: no Mixture-of-Experts model; none of its {len(tensors)} tensors belongs to an expert")
    return ExpertMetadata(model_id, str(commit), experts)


def shape_from_hub(model_id: str, revision: str | None = None) -> MoeShape:
    """Return the shape in a model's config.json, from the Hub or, if it does not answer, from huggingface_hub's cache. Raises HubError."""
    with _one_line(model_id):
        path = _config_file(model_id, revision)
        config = json.loads(path.read_bytes())
    source = f"{_endpoint()}/{model_id}/blob/{path.parent.name}/config.json"
    try:
        return shape_in(config, model_id, source)
    except ValueError as error:
        raise HubError(f"{model_id}: {error}") from None


def shape_of(model_id: str) -> MoeShape:
    """Return the shape from the Hub if it answers, else the preset with a note that says why. Raises HubError if there is neither."""
    try:
        return shape_from_hub(model_id)
    except HubError as error:
        if model_id not in presets():
            raise HubError(f"{error} (there is no preset either: `moefuzz models` lists them)") from None
        shipped = presets()[model_id]
        note = INSTEAD + str(error).removeprefix(f"{model_id}: ")
        return dataclasses.replace(shipped, note=f"{shipped.note}; {note}" if shipped.note else note)


def _config_file(model_id: str, revision: str | None) -> Path:
    """Return the path of config.json in the cache. A request for the model comes first: a download from a Hub that is down takes 23 s."""
    api = _api()
    try:
        api.model_info(model_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HFValidationError:
        raise
    except Exception as error:
        cached = try_to_load_from_cache(model_id, "config.json", revision=revision)
        if getattr(error, "response", None) is None and isinstance(cached, str):
            return Path(cached)
        raise
    return Path(api.hf_hub_download(model_id, "config.json", revision=revision))


def _endpoint() -> str:
    """Return the present HF_ENDPOINT; huggingface_hub reads it only once, when it is imported."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _api() -> HfApi:
    return HfApi(endpoint=_endpoint(), library_name="moefuzz")


@contextlib.contextmanager
def _one_line(model_id: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # huggingface_hub uses httpx or requests, by version; their errors share no other base class
        raise HubError(f"{model_id}: {_words(_first_cause(error), model_id)}") from error


def _first_cause(error: BaseException) -> BaseException:
    """Return the original cause of an error: if a file is not in the cache, why the Hub did not give it."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _words(error: BaseException, model_id: str) -> str:
    endpoint = _endpoint()
    response: Any = getattr(error, "response", None)
    file = "such file" if response is None else str(response.url).rpartition("/")[2]
    for kind, text in _SAID.items():
        if isinstance(error, kind):
            return text.format(endpoint=endpoint, model_id=model_id, error=error, file=file)
    kind_name, library = type(error).__name__, type(error).__module__.partition(".")[0]
    if response is not None and response.status_code in {401, 403}:
        return f"{endpoint} refuses access ({response.status_code}); run `hf auth login` or set HF_TOKEN to a token that may read it"
    if response is not None:
        later = response.status_code >= 500 or response.status_code == 429  # too many requests
        return f"{endpoint} answered {response.status_code}; {'try again later' if later else 'check HF_ENDPOINT'}"
    if "Timeout" in kind_name:
        return f"{endpoint} did not answer in time; try again, or raise HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT"
    if library in {"httpx", "requests"} or isinstance(error, ConnectionError):
        return f"{endpoint} cannot be reached ({kind_name}); check the connection and HF_ENDPOINT"
    return f"{endpoint} answered something that cannot be read ({kind_name}: {' '.join(str(error).split())})"
