"""Every error that Lading raises, in one place.

::

    LadingError                      1  500
    ├── InputError                   2  400   what the caller gave can't be used; names the field
    │   ├── ConfigError              2  400   ... in a configuration file, flag or variable
    │   ├── FileInvalid              2  400   ... a file; with every finding and its line
    │   │   └── FileMissing          2  400   ... there is none; also a FileNotFoundError
    │   ├── InvalidLimit             2  400   ... a resource limit
    │   ├── RequestTooLarge          2  413
    │   └── KeyReused                2  422   an idempotency key that came with another request
    ├── EngineError                 69  502   the container engine said no
    │   ├── EngineUnreachable       69  503
    │   ├── EngineTooOld            69  503
    │   ├── NotSupported            69  501   this engine lacks a runtime, a driver, a feature
    │   ├── NameTaken               69  409
    │   ├── ContainerNotFound       66  404
    │   ├── NetworkNotFound         66  404
    │   ├── NamespaceNotFound       66  404   the cluster has no such namespace
    │   ├── CredentialsRefused      77  502   the cluster does not take our credentials (any more)
    │   ├── EngineDenied            77  502   ... knows us, and lets us not do that
    │   ├── QuotaExceeded           75  503   ... has used up what the namespace may have
    │   ├── Unschedulable           75  503   no node took the pod in time
    │   └── ImageError              65  422
    │       ├── ImageNameInvalid    65  400
    │       ├── ImageNotFound       66  404   absent here and at the registry
    │       ├── ImageDenied         77  403   the registry wants other credentials
    │       ├── ImagePullFailed     69  502
    │       ├── ImagePushFailed     69  502
    │       ├── ImageFileNotFound   66  404   no such file inside the image
    │       └── BuildFailed         65  422
    ├── RunError                    70  502   a container did not do what it should
    │   ├── ExitedEarly             70  502   ended before it was ready, or before it answered
    │   ├── NotReady                75  504   the mark or the port did not come in time
    │   ├── OutOfMemory            137  507
    │   ├── TimedOut               124  504
    │   ├── TaskFailed              70  502   it answered, with an HTTP error
    │   ├── ReplyBroken             70  502   the connection broke before the whole reply came
    │   ├── ReplyTooLarge           70  502
    │   ├── OutputDiffers           70  502   not what its example says
    │   ├── ContainerLost           70  502   somebody removed the container meanwhile
    │   ├── AppError                70  502   an application's handler raised, or broke its contract
    │   │   └── AppGone             70  502   ... it ended in the middle of a call
    │   │       └── AppShutDown     70  502   ... since it was told to
    │   └── GolemTaskFailed         70  502   a task of many subtasks can't be finished
    ├── CapacityError               75  503
    │   ├── TooLarge                65  422   asks for more than there will ever be
    │   ├── GpuUnavailable          75  503
    │   ├── QueueFull               75  503
    │   └── NotAccepting            75  503   paused, or stopping
    ├── ContentError                69  502   content by address can't be had, or stored
    │   ├── ContentNotFound         66  404   nobody has it, as far as could be found out in time
    │   ├── ContentRefused          65  422   a block is not what its address says, or lies outside
    │   └── NodeUnreachable         69  503   the IPFS node does not answer
    ├── ExecutorError               69  502   an executor elsewhere does not answer as one
    │   └── ExecutorDenied          77  403   ... it wants its token, or another
    └── RecordError                 74  500
        ├── RecordNotFound          66  404
        ├── ReplyForgotten          66  409   executed and billed before, and no longer kept
        ├── MarketUnavailable       75  503   locked, full, or out of reach: try again later
        └── RecordForged            65  500   a ledger's chain or a receipt does not hold

The first number is the exit code of the command line (sysexits.h where it has one, the shell's
124 and 137 for time-outs and kills), the second the HTTP status.

Every message says what happened, to which thing and why; :attr:`LadingError.fix` says what to do.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AppError",
    "AppGone",
    "AppShutDown",
    "BuildFailed",
    "CapacityError",
    "ConfigError",
    "ContainerLost",
    "ContainerNotFound",
    "ContentError",
    "ContentNotFound",
    "ContentRefused",
    "CredentialsRefused",
    "EngineDenied",
    "EngineError",
    "EngineTooOld",
    "EngineUnreachable",
    "ExecutorDenied",
    "ExecutorError",
    "ExitedEarly",
    "FileInvalid",
    "FileMissing",
    "FolderSharded",
    "GolemTaskFailed",
    "GpuUnavailable",
    "ImageDenied",
    "ImageError",
    "ImageFileNotFound",
    "ImageNameInvalid",
    "ImageNotFound",
    "ImagePullFailed",
    "ImagePushFailed",
    "InputError",
    "InvalidLimit",
    "KeyReused",
    "LadingError",
    "MarketUnavailable",
    "NameTaken",
    "NamespaceNotFound",
    "NetworkNotFound",
    "NodeUnreachable",
    "NotAccepting",
    "NotReady",
    "NotSupported",
    "OutOfMemory",
    "OutputDiffers",
    "QueueFull",
    "QuotaExceeded",
    "RecordError",
    "RecordForged",
    "RecordNotFound",
    "ReplyBroken",
    "ReplyForgotten",
    "ReplyTooLarge",
    "RequestTooLarge",
    "RunError",
    "TaskFailed",
    "TimedOut",
    "TooLarge",
    "Unschedulable",
    "how_to_install",
]


def how_to_install(extra: str) -> str:
    """Write the command that installs an optional part: from the clone, as no index has Lading."""
    return f"pip install '.[{extra}]' in the clone of Lading"


class LadingError(Exception):
    """The root of the tree.

    Parameters
    ----------
    message : str
        What happened, to which thing, and why.
    fix : str
        What to do about it; empty where nobody can say.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


class InputError(LadingError, ValueError):
    """Something that the caller gave can't be used; for Python, a bad value.

    Parameters
    ----------
    field : str
        Where it stands, as a path such as ``resource.cpu``; empty for the whole.
    reason : str
        What is wrong with it.
    """

    exit_code = 2
    http_status = 400

    def __init__(self, field: str, reason: str, *, fix: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason, fix=fix)
        self.field = field
        self.reason = reason


class ConfigError(InputError):
    """A configuration file, flag or environment variable can't be used."""


class FileInvalid(InputError):
    """A file of a contract can't be understood.

    Parameters
    ----------
    source : str
        Which file, or which file of which image.
    findings : list of str
        Each with its line.
    """

    def __init__(self, source: str, findings: list[str], *, fix: str = "") -> None:
        super().__init__("", "\n".join(findings), fix=fix)
        self.source = source
        self.findings = findings


class FileMissing(FileInvalid, FileNotFoundError):
    """There is no file of that name."""


class InvalidLimit(InputError):
    """A resource limit is no number, or not a possible one."""


class RequestTooLarge(InputError):
    """The request's body is larger than what is accepted."""

    http_status = 413


class KeyReused(InputError):
    """The idempotency key came before, with another request."""

    http_status = 422


class EngineError(LadingError):
    """The container engine refused or failed.

    Parameters
    ----------
    message : str
        The engine's own words, with what they were about.
    status : int or None
        The engine's HTTP status, where it has one.
    """

    exit_code = 69
    http_status = 502

    def __init__(self, message: str, *, status: int | None = None, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status


class EngineUnreachable(EngineError):
    """Nothing answers where the engine should be, or it went away in the middle."""

    http_status = 503


class EngineTooOld(EngineError):
    """The engine answers, but its interface is older than what we need."""

    http_status = 503


class NotSupported(EngineError):
    """The engine lacks what was asked for: an OCI runtime, a GPU driver, a feature."""

    http_status = 501


class NameTaken(EngineError):
    """A container or network of that name exists already."""

    http_status = 409


class ContainerNotFound(EngineError):
    """The engine knows no such container (any more).

    Attributes
    ----------
    end : lading.engine.Exit or None
        How it ended, where the engine still told that.
    """

    exit_code = 66
    http_status = 404
    end: Any = None


class NetworkNotFound(EngineError):
    """The engine knows no such network."""

    exit_code = 66
    http_status = 404


class NamespaceNotFound(EngineError):
    """The cluster has no such namespace, or is about to remove it."""

    exit_code = 66
    http_status = 404


class CredentialsRefused(EngineError):
    """The cluster does not know whose our credentials are: expired, or another cluster's."""

    exit_code = 77
    http_status = 502  # 401 would speak of the credentials of whoever asked us


class EngineDenied(EngineError):
    """The cluster knows whose our credentials are, and they do not allow what was asked.

    Attributes
    ----------
    verb, resource, namespace : str
        What is missing: ``create``, ``pods``, ``jobs``; empty where the cluster does not say.
    """

    exit_code = 77
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        verb: str = "",
        resource: str = "",
        namespace: str = "",
        status: int | None = None,
        fix: str = "",
    ) -> None:
        super().__init__(message, status=status, fix=fix)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class QuotaExceeded(EngineError):
    """A quota of the namespace is used up, or one container alone asks for more than allowed."""

    exit_code = 75
    http_status = 503


class Unschedulable(EngineError):
    """No node of the cluster took it in time; the message has the scheduler's words."""

    exit_code = 75
    http_status = 503


class ImageError(EngineError):
    """Something is wrong with an image.

    Parameters
    ----------
    image : str
        The reference as the caller wrote it.
    """

    exit_code = 65
    http_status = 422

    def __init__(
        self, image: str, message: str, *, status: int | None = None, fix: str = ""
    ) -> None:
        super().__init__(f"image {image!r}: {message}", status=status, fix=fix)
        self.image = image


class ImageNameInvalid(ImageError):
    """The reference can't be parsed."""

    http_status = 400


class ImageNotFound(ImageError):
    """The image is neither here nor at its registry."""

    exit_code = 66
    http_status = 404


class ImageDenied(ImageError):
    """The registry wants credentials, or others."""

    exit_code = 77
    http_status = 403


class ImagePullFailed(ImageError):
    """The registry could not be reached, or broke off.

    Attributes
    ----------
    passing : bool
        Whether it may have passed by the next try: a registry that is down, not one that refuses.
    """

    exit_code = 69
    http_status = 502
    passing: bool = False


class ImagePushFailed(ImageError):
    """The registry could not be reached, refused the image, or broke off.

    Attributes
    ----------
    passing : bool
        Whether it may have passed by the next try: a registry that is down, not one that refuses.
    """

    exit_code = 69
    http_status = 502
    passing: bool = False


class ImageFileNotFound(ImageError):
    """The image holds no such file."""

    exit_code = 66
    http_status = 404


class BuildFailed(ImageError):
    """The engine could not build the image; the message ends with the builder's last lines."""


class RunError(LadingError):
    """A container did not do what it should have.

    Parameters
    ----------
    message : str
        What happened, naming the task.
    logs : str
        The last lines that the container printed, oldest first; may be empty.
    """

    exit_code = 70
    http_status = 502

    def __init__(self, message: str, *, logs: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.logs = logs

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nlast lines of its log:\n{self.logs}" if self.logs else text


class ExitedEarly(RunError):
    """The container ended before it was ready, or before it answered.

    Parameters
    ----------
    code : int
        Its exit code.
    """

    def __init__(self, message: str, *, code: int, logs: str = "", fix: str = "") -> None:
        super().__init__(message, logs=logs, fix=fix)
        self.code = code


class NotReady(RunError):
    """The mark or the port did not come before the deadline."""

    exit_code = 75
    http_status = 504


class OutOfMemory(RunError):
    """The kernel killed the container, or a process in it, at its memory limit.

    Parameters
    ----------
    task : str
        Which one.
    limit, peak : int or None
        In bytes; None where unknown.
    """

    exit_code = 137
    http_status = 507

    def __init__(
        self,
        task: str,
        *,
        limit: int | None,
        peak: int | None,
        logs: str = "",
        limit_text: str = "",
        peak_text: str = "",
        fix: str = "",
    ) -> None:
        parts = [f"{task} was killed: out of memory"]
        if limit_text:
            parts.append(f"limit {limit_text}")
        if peak_text:
            parts.append(f"peak {peak_text}")
        super().__init__(", ".join(parts), logs=logs, fix=fix)
        self.task = task
        self.limit = limit
        self.peak = peak


class TimedOut(RunError):
    """The time allowed for it was used up.

    Parameters
    ----------
    seconds : float
        How long it was given.
    """

    exit_code = 124
    http_status = 504

    def __init__(self, message: str, *, seconds: float, logs: str = "", fix: str = "") -> None:
        super().__init__(message, logs=logs, fix=fix)
        self.seconds = seconds


class TaskFailed(RunError):
    """The task answered with an HTTP status that is no success.

    Parameters
    ----------
    status : int
        The task's HTTP status.
    body : bytes
        What it sent with it.
    """

    def __init__(self, message: str, *, status: int, body: bytes, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.body = body


class ReplyBroken(RunError):
    """The connection broke before the whole reply had come."""


class ReplyTooLarge(RunError):
    """The reply is larger than the limit set for it."""


class OutputDiffers(RunError):
    """A task answered, and not what its example says.

    Parameters
    ----------
    diff : str
        What differs, to be read by people; lines as of ``diff -u`` where both are text.
    """

    def __init__(self, message: str, *, diff: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.diff = diff


class ContainerLost(RunError):
    """Somebody else removed or stopped the container while we used it."""


class AppError(RunError):
    """A Golem application said no: its handler raised, or it broke a rule of its contract.

    Parameters
    ----------
    call : str
        Which call, as on the wire: ``CreateTask``.
    status : str
        The name of the gRPC status: ``INTERNAL`` where a handler raised.
    text : str
        What the application said.
    """

    def __init__(self, call: str, status: str, text: str, *, logs: str = "", fix: str = "") -> None:
        super().__init__(f"{call}: {text} ({status})", logs=logs, fix=fix)
        self.call = call
        self.status = status
        self.text = text


class AppGone(AppError):
    """The connection to a Golem application, or its container, ended in the middle of a call."""


class AppShutDown(AppGone):
    """A Golem application was told to end by the same client, in the middle of a call."""


class GolemTaskFailed(RunError):
    """A Golem task can't be finished: retries used up, aborted, or out of time."""


class CapacityError(LadingError):
    """There is no room for it, now or ever."""

    exit_code = 75
    http_status = 503


class TooLarge(CapacityError):
    """It asks for more than this host will ever give."""

    exit_code = 65
    http_status = 422


class GpuUnavailable(CapacityError):
    """There are not that many GPUs free, or not at all."""


class QueueFull(CapacityError):
    """As many as may wait are waiting already."""


class NotAccepting(CapacityError):
    """No new work is taken: paused, or stopping."""


class ContentError(LadingError):
    """Content by address can't be had, or can't be stored.

    Parameters
    ----------
    message : str
        What happened, naming the CID, the file or the node.
    """

    exit_code = 69
    http_status = 502


class ContentNotFound(ContentError):
    """Nobody has it, as far as could be found out in the time given."""

    exit_code = 66
    http_status = 404


class ContentRefused(ContentError):
    """It is there and not taken: a block is not what its address says, or a name leads outside."""

    exit_code = 65
    http_status = 422


class FolderSharded(ContentRefused):
    """A folder is so large that nodes spread it over several blocks, each kind in its own way."""


class NodeUnreachable(ContentError):
    """The IPFS node does not answer, or is none."""

    http_status = 503


class ExecutorError(LadingError):
    """An executor that was asked over HTTP does not answer, or not as an executor does."""

    exit_code = 69
    http_status = 502


class ExecutorDenied(ExecutorError):
    """An executor wants its token, or another one."""

    exit_code = 77
    http_status = 403


class RecordError(LadingError):
    """The records can't be read or written."""

    exit_code = 74


class RecordNotFound(RecordError):
    """There is no record of that name."""

    exit_code = 66
    http_status = 404


class ReplyForgotten(RecordError):
    """The request was executed and billed before, and its reply is no longer kept."""

    exit_code = 66
    http_status = 409


class MarketUnavailable(RecordError):
    """The catalogue or the ledger can't be used now: locked, full, or out of reach."""

    exit_code = 75
    http_status = 503


class RecordForged(RecordError):
    """A ledger's chain, or a receipt's signature, does not hold: somebody changed it."""

    exit_code = 65
    http_status = 500
