"""TensorBoard's event files, written with the parts of it that do without TensorFlow: importing that takes seconds.

`tensorboard.plugins.hparams.api`, `tensorboard.plugins.hparams.summary` and `EventFileWriter` do not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from search_spaces import Choice, Domain, Fixed, Space
from tuner.definitions.definition import StudyDefinition

_STATUS = {"complete": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE}
"""Success is what can be best; pruned and cancelled trials are unknown, and TensorBoard can filter by that."""

_FIELDS = {
    api_pb2.DATA_TYPE_BOOL: "bool_value",
    api_pb2.DATA_TYPE_FLOAT64: "number_value",
    api_pb2.DATA_TYPE_STRING: "string_value",
}


def save(folder: Path, began: float, events: Iterable[Any]) -> None:
    """Write the events of one run, which began at `began` seconds since 1970."""
    folder.mkdir(parents=True, exist_ok=True)
    # A TensorBoard that has read an earlier file goes on with the one of the next name, and on a start it forgets.
    start = Event(wall_time=began, session_log=SessionLog(status=SessionLog.START))
    with (folder / f"events.out.tfevents.{time.time_ns()}").open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(wall_time=began, file_version="brain.Event:2"), start, *events):
            writer.write(event.SerializeToString())


def scalars(at: float, step: int, values: Mapping[str, float]) -> Any:
    """The values of one epoch by tag, as 32-bit floats; NaN and infinities are kept."""
    found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=at, step=step, summary=Summary(value=found))


def metric_tag(definition: StudyDefinition) -> str:
    """Under which tag each session has the objective."""
    return f"best_{definition.objective}"


def experiment(at: float, definition: StudyDefinition) -> Any:
    """What the columns of the HParams tab are: the parameters and the objective."""
    space, objective = _space(definition), definition.objective
    metric = api_pb2.MetricInfo(
        name=api_pb2.MetricName(tag=metric_tag(definition)),
        display_name=objective,
        description=f"{objective} at the best epoch",
    )
    parameters = [_info(name, space.parameters[name]) for name in space.order]
    found = api_pb2.Experiment(time_created_secs=at, hparam_infos=parameters, metric_infos=[metric])
    return _hparams(at, metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=found))


def session_start(at: float, definition: StudyDefinition, params: Mapping[str, Any], group: str) -> Any:
    """The parameters of a trial. Trials of one `group` are one line, with the mean of their values; "": of its own."""
    space, found = _space(definition), SessionStartInfo(start_time_secs=at, group_name=group)
    for name, value in params.items():
        kind = _kind(space.parameters[name])
        setattr(found.hparams[name], _FIELDS[kind], _told(kind, value))
    return _hparams(at, metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=found))


def session_end(at: float, state: str) -> Any:
    """The state of a trial that ended at `at`.

    A trial that has not ended gets no such event: of each run TensorBoard keeps the first that it reads.
    """
    found = SessionEndInfo(status=_STATUS.get(state, api_pb2.STATUS_UNKNOWN), end_time_secs=at)
    return _hparams(at, metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=found))


def _space(definition: StudyDefinition) -> Space:
    assert definition.space is not None  # what was not given, the dry run has read from the model
    return definition.space


def _hparams(at: float, tag: str, data: Any) -> Any:
    about = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=at, summary=Summary(value=[value]))


def _info(name: str, domain: Domain) -> Any:
    kind = _kind(domain)
    found = api_pb2.HParamInfo(name=name, type=kind, differs=not isinstance(domain, Fixed))
    if isinstance(domain, Choice | Fixed):
        found.domain_discrete.extend([_told(kind, value) for value in domain.extremes])
    else:
        low, *_, high = (_told(kind, value) for value in domain.extremes)
        found.domain_interval.min_value, found.domain_interval.max_value = low, high
    return found


def _kind(domain: Domain) -> Any:
    """TensorBoard's type of a parameter, which has one for all of its values."""
    values = domain.extremes
    if all(isinstance(value, bool) for value in values):
        return api_pb2.DATA_TYPE_BOOL
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return api_pb2.DATA_TYPE_FLOAT64 if numbers else api_pb2.DATA_TYPE_STRING


def _told(kind: Any, value: Any) -> Any:
    return str(value) if kind == api_pb2.DATA_TYPE_STRING else value
