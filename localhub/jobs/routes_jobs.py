"""Routes of Jobs and scheduled Jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from localhub.errors import HubError, bad_request
from localhub.jobs.records import HARDWARE, JobRecord, JobRecords
from localhub.names import check_owner
from localhub.protocol.access import CurrentCaller
from localhub.protocol.json_views import JsonObject, make_object_id

router = APIRouter(prefix="/api")
OK = {"success": True}


class JobRequest(BaseModel):
    """A Job's specification; keys that are not checked are kept."""

    model_config = ConfigDict(extra="allow")
    command: list[str]
    flavor: str = "cpu-basic"
    dockerImage: str | None = None  # noqa: N815  as sent
    spaceId: str | None = None  # noqa: N815
    timeoutSeconds: int | None = Field(None, ge=1)  # noqa: N815

    def checked(self) -> dict[str, JsonValue]:
        """The specification; a 400 unless it names one image and known hardware."""
        if (self.dockerImage is None) == (self.spaceId is None):
            raise bad_request("A Job needs one of dockerImage and spaceId")
        if self.flavor not in HARDWARE:
            raise bad_request(f"Invalid flavor {self.flavor!r}: it is one of {', '.join(HARDWARE)}")
        return self.model_dump(exclude_none=True)


class ScheduleRequest(BaseModel):
    """A Job that is to run again and again."""

    jobSpec: JobRequest  # noqa: N815  as sent
    schedule: str
    suspend: bool = False
    concurrency: bool = False


def _check_namespace(caller: CurrentCaller, namespace: str) -> str:
    """The namespace, if the caller may run Jobs in it."""
    caller.check_writes(check_owner(namespace), f"run Jobs in {namespace}")
    return namespace


Namespace = Annotated[str, Depends(_check_namespace)]


@router.get("/jobs/hardware")
def list_hardware() -> list[JsonObject]:
    """The hardware for Jobs, with its price."""
    return [
        {
            "name": name, "prettyName": shown, "cpu": "2 vCPU", "ram": "16 GB", "accelerator": None,
            "unitCostMicroUSD": price, "unitCostUSD": price / 1e6, "unitLabel": "minute",
        }
        for name, (shown, price) in HARDWARE.items()
    ]  # fmt: skip


@router.post("/jobs/{namespace}")
def start_job(caller: CurrentCaller, namespace: Namespace, request: JobRequest) -> JsonObject:
    """Keep a Job, which nobody runs."""
    return _describe_job(JobRecords(caller.store, "jobs").add(namespace, request.checked()))


@router.get("/jobs/{namespace}")
def list_jobs(caller: CurrentCaller, namespace: Namespace) -> list[JsonObject]:
    """The Jobs of a namespace, the newest first."""
    return [_describe_job(record) for record in JobRecords(caller.store, "jobs").list(namespace)]


@router.get("/jobs/{namespace}/{id}")
def get_job(caller: CurrentCaller, namespace: Namespace, id: str) -> JsonObject:
    """One Job."""
    return _describe_job(JobRecords(caller.store, "jobs").get(namespace, id))


@router.post("/jobs/{namespace}/{id}/cancel")
def cancel_job(caller: CurrentCaller, namespace: Namespace, id: str) -> JsonObject:
    """Cancel a Job."""
    records = JobRecords(caller.store, "jobs")
    cancelled = replace(records.get(namespace, id), stage="CANCELED")
    records.write(cancelled)
    return _describe_job(cancelled)


@router.post("/scheduled-jobs/{namespace}")
def create_scheduled_job(caller: CurrentCaller, namespace: Namespace, request: ScheduleRequest) -> JsonObject:
    """Keep a scheduled Job, which nobody runs."""
    records = JobRecords(caller.store, "scheduled-jobs")
    further = request.model_dump(include={"schedule", "suspend", "concurrency"})
    return _describe_schedule(records.add(namespace, request.jobSpec.checked(), **further))


@router.get("/scheduled-jobs/{namespace}")
def list_scheduled_jobs(caller: CurrentCaller, namespace: Namespace, label: str | None = None) -> list[JsonObject]:
    """The scheduled Jobs of a namespace, with a label if one is given as `key=value`."""
    found = JobRecords(caller.store, "scheduled-jobs").list(namespace)
    return [_describe_schedule(one) for one in found if label is None or one.has_label(label)]


@router.get("/scheduled-jobs/{namespace}/{id}")
def get_scheduled_job(caller: CurrentCaller, namespace: Namespace, id: str) -> JsonObject:
    """One scheduled Job."""
    return _describe_schedule(JobRecords(caller.store, "scheduled-jobs").get(namespace, id))


@router.delete("/scheduled-jobs/{namespace}/{id}")
def delete_scheduled_job(caller: CurrentCaller, namespace: Namespace, id: str) -> dict[str, bool]:
    """Delete a scheduled Job."""
    records = JobRecords(caller.store, "scheduled-jobs")
    records.delete(records.get(namespace, id))
    return OK


@router.post("/scheduled-jobs/{namespace}/{id}/run")
def run_scheduled_job(caller: CurrentCaller, namespace: Namespace, id: str) -> JsonObject:
    """Start a scheduled Job now; a 409 while its last one runs, unless it may run beside itself."""
    schedules, jobs = JobRecords(caller.store, "scheduled-jobs"), JobRecords(caller.store, "jobs")
    schedule = schedules.get(namespace, id)
    running = schedule.last is not None and jobs.get(namespace, schedule.last).stage in ("SCHEDULING", "RUNNING")
    if running and not schedule.concurrency:
        raise HubError(409, f"Scheduled Job {id} is running already")
    job = jobs.add(namespace, schedule.spec)
    jobs.write(replace(job, secrets=schedule.secrets))
    schedules.write(replace(schedule, last=job.id))
    return _describe_job(job)


def _describe_job(record: JobRecord) -> JsonObject:
    return {
        **_describe_record(record),
        **_describe_spec(record),
        "status": {"stage": record.stage, "message": None},
    }


def _describe_schedule(record: JobRecord) -> JsonObject:
    last: JsonValue = None if record.last is None else {"id": record.last, "at": record.created_at}
    return {
        **_describe_record(record),
        "jobSpec": {**_describe_spec(record), "timeout": record.spec.get("timeoutSeconds")},
        "schedule": record.schedule,
        "suspend": record.suspend,
        "concurrency": record.concurrency,
        "status": {"lastJob": last, "nextJobRunAt": None},
    }


def _describe_record(record: JobRecord) -> JsonObject:
    owner: JsonObject = {"id": make_object_id(record.namespace), "name": record.namespace, "type": "user"}
    return {"id": record.id, "createdAt": record.created_at, "owner": owner}


def _describe_spec(record: JobRecord) -> JsonObject:
    """What was asked for; of the secrets, the names."""
    return {**record.spec, "secrets": dict.fromkeys(record.secrets, "")}
