"""Faults on purpose: what the genuine client makes of a Hub that is busy, down, slow, or cuts streams."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from conftest import TestHub
from fixtures.noise import noise


def test_a_dropped_stream_is_resumed_where_it_broke(hub: TestHub) -> None:
    content = noise(3_000_000)
    hub.store.commit("ada/m", {"w.safetensors": content})
    fault = hub.faults.drop("/ada/m/resolve/*", after=1_000_000)
    path = hub.api().hf_hub_download("ada/m", "w.safetensors", cache_dir=hub.cache)
    assert fault.struck == 1
    assert Path(path).read_bytes() == content
    assert [method for method, path in hub.faults.seen if "/resolve/" in path] == ["HEAD", "GET", "GET"]


def test_a_busy_hub_is_asked_again_after_the_time_it_names(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    fault = hub.faults.busy("/api/models", times=2, reset=55)
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    assert [model.id for model in hub.api().list_models()] == ["ada/m"]
    assert (fault.struck, waits) == (2, [56, 56])
    hub.faults.busy("/api/models/ada/m", reset=7)
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api().model_info("ada/m")
    answer = caught.value.response
    assert (answer.status_code, answer.headers["RateLimit"]) == (429, '"api";r=0;t=7')
    assert "Retry-After" not in answer.headers


def test_faults_strike_only_what_they_match_and_only_so_often(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    hub.faults.unavailable("/api/models/ada/*", method="GET", times=1, skip=1)
    api = hub.api()
    api.list_models()
    api.model_info("ada/m")
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("ada/m")
    assert caught.value.response.status_code == 503
    api.model_info("ada/m")
    hub.faults.unavailable("*", times=99)
    hub.faults.clear()
    api.model_info("ada/m")


def test_a_slow_hub_answers_late(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    hub.faults.slow("/api/models/ada/m", delay=0.3)
    start = time.monotonic()
    assert hub.api().model_info("ada/m").id == "ada/m"
    assert time.monotonic() - start >= 0.3
