"""What AWS has refused, in words that say what to do."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from entangle.errors import EntangleError, PlaceBusyError

_EXPIRED: Final = frozenset(
    ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
)
_INVALID: Final = frozenset(
    (
        *("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"),
        *("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSignatureException"),
        *("IncompleteSignature", "MissingAuthenticationToken"),
    )
)
_NO_LINKED_ROLE: Final = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
# What is said, too, by a region that the account has to ask for first, where the keys
# are not known.
_MAYBE_REGION: Final = frozenset(
    ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure")
)
_SKEWED: Final = frozenset(("RequestTimeTooSkewed", "RequestInTheFuture"))
_SKEW: Final = re.compile(r"[Ss]ignature (expired|not yet current)")
_DENIED: Final = frozenset(
    (
        *("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"),
        _NO_LINKED_ROLE,
    )
)
# Of these two the first passes by itself, soon.
_THROTTLED: Final = frozenset(
    (
        *("Throttling", "ThrottlingException", "ThrottledException", "SlowDown"),
        *("TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled"),
        *("ProvisionedThroughputExceededException", "BandwidthLimitExceeded"),
        *("EC2ThrottledException", "RequestThrottledException", "503"),
        *("ServiceUnavailable", "OperationAborted", "ResourceNotReadyException"),
    )
)
_FULL: Final = frozenset(
    (
        *("LimitExceededException", "ServiceQuotaExceededException"),
        *("InsufficientInstanceCapacity", "InstanceLimitExceeded", "VcpuLimitExceeded"),
        *("MaxSpotInstanceCountExceeded", "CapacityUnavailable"),
    )
)
_BUSY: Final = _THROTTLED | _FULL
# Permissions that are not called like the operations that need them.
_ACTIONS: Final = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
}
_BROKEN: Final = 500  # statuses from which on the service itself is in trouble
_UNKNOWN: Final = 501  # but for this: a stand-in doesn't know the operation
_UNREACHABLE: Final = (
    "Its address is made of the name of the region: look at that, at endpoint_url, and "
    "at the network"
)
_WAKING: Final = "currently in the following state: Pending"
_QUOTA: Final = "reached the limit on the number of"
_ACTION: Final = re.compile(
    r"not authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9*]+)"
)


class PassingError(PlaceBusyError):
    """AWS refuses for the moment, and soon no longer: it throttles, say.

    Unlike a quota that is used up, or capacity that is not there.
    """


class AwsError(EntangleError):
    """AWS has refused something.

    Attributes:
        service: Which service: ``'lambda'``, ``'ecs'``…
        operation: What was asked of it.
        code: Its own name for what is wrong; empty if it was not reached.
        resource: What it was about; empty if unknown.
        action: The permission that is missing; empty if that is not it.
        reason: What is wrong, and what to do about it.
    """

    def __init__(
        self,
        reason: str,
        *,
        service: str = "",
        operation: str = "",
        code: str = "",
        resource: str = "",
        action: str = "",
    ) -> None:
        """Build the message from the names and the reason."""
        asked = ":".join(filter(None, (service, operation)))
        about = f" of {resource}" if resource else ""
        super().__init__(f"AWS {asked}{about}: {reason}" if asked else f"AWS: {reason}")
        self.service = service
        self.operation = operation
        self.code = code
        self.resource = resource
        self.action = action
        self.reason = reason


def translated(error: Any, service: str, resource: str) -> BaseException | None:
    """Return what to raise instead of an error of botocore's.

    Args:
        error: What botocore has raised.
        service: The service that was asked.
        resource: What it was asked about.

    Returns:
        None where it may be otherwise soon, such as a network that doesn't answer.
    """
    kind = type(error).__name__
    about = {"service": service, "resource": resource}
    reason = _unasked(kind, error)
    if reason:
        return AwsError(reason, **about)
    response: Any = getattr(error, "response", None)
    if response is None:
        if kind == "EndpointConnectionError":
            error.add_note(_UNREACHABLE)
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    known = response.get("Error", {}).get("Code") in _BUSY
    # What was invoked may have run.
    invoked = getattr(error, "operation_name", "") == "Invoke"
    if status >= _BROKEN and status != _UNKNOWN and not known and not invoked:
        return None
    return _refused(error, response, service, resource)


def _unasked(kind: str, error: object) -> str:
    """Return what is wrong where AWS was not even asked; empty if that is not it."""
    if kind in {"NoCredentialsError", "PartialCredentialsError"}:
        return (
            f"there are no credentials ({error}): run `aws configure` or `aws sso "
            "login`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
            "@aws(keys=[...])"
        )
    if kind in {
        "UnauthorizedSSOTokenError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
    }:
        return f"nobody is signed on, or no longer ({error}): run `aws sso login`"
    if kind in {"NoRegionError", "InvalidRegionError"}:
        return (
            "no region is known, or none of that name: set AWS_DEFAULT_REGION or give "
            '@aws(region="...")'
        )
    if kind in {"ProfileNotFound", "InvalidConfigError", "UnknownCredentialError"}:
        return f"{error}: correct ~/.aws/config or @aws(profile=...)"
    return ""


def _refused(
    error: Any, response: dict[str, Any], service: str, resource: str
) -> BaseException:
    said = response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    operation = str(getattr(error, "operation_name", ""))
    about = {"service": service, "operation": operation, "resource": resource}
    # One that was not called for weeks, or is being made, is not there at once.
    wakes = operation == "Invoke" and _WAKING in message
    passes = code in _THROTTLED or "Rate exceeded" in message or wakes
    if passes or code in _FULL or _QUOTA in message:
        whose = f" of {resource}" if resource else ""
        kind = PassingError if passes else PlaceBusyError
        return kind(f"AWS {service}:{operation}{whose}: {code}: {message}")
    action = ""
    if code in _EXPIRED:
        reason = f"the credentials have expired ({code}): renew them, `aws sso login`"
    elif code in _SKEWED or _SKEW.search(message):
        reason = (
            f"the clock of this machine is wrong, by AWS's ({code}: {message}): set it"
        )
    elif code in _INVALID:
        reason = _not_valid(code, message)
    elif code in _DENIED:
        found = _ACTION.search(message)
        asked = f"{service}:{operation}"
        action = found[1] if found else _ACTIONS.get(asked, asked)
        if code == _NO_LINKED_ROLE:
            action = "iam:CreateServiceLinkedRole"
        reason = f"{action} is not allowed to these credentials: have it granted"
        if message:
            reason += f" ({message})"
    else:
        reason = f"{code}: {message}"
    return AwsError(reason, code=code, action=action, **about)


def _not_valid(code: str, message: str) -> str:
    """Return what may be wrong with credentials that AWS does not take."""
    reason = f"the credentials are not valid ({code}: {message}): look at the keys"
    if code in _MAYBE_REGION:
        reason += (
            ", at the session token if they are temporary, and whether the account has "
            "the region enabled (`aws account list-regions`): one that is not knows "
            "no keys"
        )
    elif code == "SignatureDoesNotMatch":
        reason += ": the secret key is another's, or was cut off"
    return reason


def answered(said: bytes) -> dict[str, Any]:
    """Return what a function has told of its error, as plain facts."""
    try:
        told: Any = json.loads(said)
    except ValueError:
        told = said.decode(errors="replace")
    return told if type(told) is dict else {"errorMessage": told}  # pyright: ignore[reportUnknownVariableType]


class RemoteFunctionError(EntangleError):
    """A Lambda function has raised an error of its own.

    Attributes:
        function: Its name.
        type_name: The type of its error, as it has told.
        message: What that says.
        stack: Where it was raised, as lines; empty if it has not told.
        log: The last 4 KB of its log.
    """

    def __init__(self, function: str, said: bytes, log: str = "") -> None:
        """Build the message from what the function has answered."""
        told = answered(said)
        self.function = function
        self.type_name = str(told.get("errorType", ""))
        self.message = str(told.get("errorMessage", ""))
        self.stack = tuple(map(str, told.get("stackTrace") or ()))
        self.log = log
        what = ": ".join(filter(None, (self.type_name, self.message)))
        super().__init__(f"the Lambda function {function} has failed: {what}")
