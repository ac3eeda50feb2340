"""Jobs and scheduled Jobs on the local Hub, which keeps them and runs none, with the genuine client."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HfHubHTTPError

from conftest import TestHub
from localhub.jobs.records import JobRecords
from localhub.shelves.space_settings import hash_secret


def test_scheduled_jobs_are_made_found_started_and_deleted(hub: TestHub) -> None:
    api = hub.api()
    made = api.create_scheduled_job(
        image="hf.co/spaces/reef/bot", command=["shoal", "run"], schedule="@daily", flavor="cpu-upgrade", timeout="6h",
        secrets={"HF_TOKEN": "hf_secret"}, env={"A": "1"}, labels={"tool": "shoal"}, namespace="reef",
    )  # fmt: skip
    api.create_scheduled_job(image="ubuntu", command=["ls"], schedule="@hourly", namespace="reef")
    (found,) = api.list_scheduled_jobs(labels={"tool": "shoal"}, namespace="reef")
    spec = found.job_spec
    assert (found.id, found.schedule, found.concurrency) == (made.id, "@daily", False)
    assert (spec.space_id, spec.flavor, spec.timeout, spec.environment) == (
        "reef/bot",
        "cpu-upgrade",
        21600,
        {"A": "1"},
    )
    assert set(spec.secrets or ()) == {"HF_TOKEN"} and "hf_secret" not in repr(found)
    assert JobRecords(hub.store, "scheduled-jobs").get("reef", made.id).secrets == {
        "HF_TOKEN": hash_secret("hf_secret")
    }
    job = api.trigger_scheduled_job(scheduled_job_id=made.id, namespace="reef")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.trigger_scheduled_job(scheduled_job_id=made.id, namespace="reef")
    api.cancel_job(job_id=job.id, namespace="reef")
    assert api.inspect_job(job_id=job.id, namespace="reef").status.stage == "CANCELED"
    api.delete_scheduled_job(scheduled_job_id=made.id, namespace="reef")
    assert api.list_scheduled_jobs(labels={"tool": "shoal"}, namespace="reef") == []
    assert {one.name: one.unit_label for one in api.list_jobs_hardware()}["cpu-upgrade"] == "minute"


def test_what_cannot_run_and_who_may_not_is_refused(hub: TestHub) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid flavor 'h9000'"):
        hub.api().run_job(image="ubuntu", command=["ls"], flavor="h9000", namespace="reef")
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api(hub.other_token).run_job(image="ubuntu", command=["ls"], namespace="reef")
    with pytest.raises(HfHubHTTPError, match="Job not found"):
        hub.api().inspect_scheduled_job(scheduled_job_id="absent", namespace="reef")
