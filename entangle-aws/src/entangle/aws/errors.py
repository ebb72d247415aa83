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
_DENIED: Final = frozenset(
    ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")
)
_BUSY: Final = frozenset(
    (
        *("Throttling", "ThrottlingException", "ThrottledException", "SlowDown"),
        *("TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled"),
        *("ProvisionedThroughputExceededException", "BandwidthLimitExceeded"),
        *("LimitExceededException", "ServiceQuotaExceededException", "503"),
        *("InsufficientInstanceCapacity", "InstanceLimitExceeded", "VcpuLimitExceeded"),
        *("MaxSpotInstanceCountExceeded", "ServiceUnavailable", "CapacityUnavailable"),
        *("EC2ThrottledException", "RequestThrottledException"),
        *("OperationAborted", "ResourceNotReadyException"),
    )
)
# Permissions that are not called like the operations that need them.
_ACTIONS: Final = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
_BROKEN: Final = 500  # statuses from which on the service itself is in trouble
_UNREACHABLE: Final = (
    "Its address is made of the name of the region: look at that, at endpoint_url, and "
    "at the network"
)
_QUOTA: Final = "reached the limit on the number of"
_ACTION: Final = re.compile(
    r"not authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z0-9*]+)"
)


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
    if kind in {"NoCredentialsError", "PartialCredentialsError"}:
        return AwsError(
            f"there are no credentials ({error}): run `aws configure` or `aws sso "
            "login`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
            "@aws(keys=[...])",
            **about,
        )
    if kind in {"NoRegionError", "InvalidRegionError"}:
        return AwsError(
            "no region is known, or none of that name: set AWS_DEFAULT_REGION or give "
            '@aws(region="...")',
            **about,
        )
    if kind in {"ProfileNotFound", "InvalidConfigError", "UnknownCredentialError"}:
        return AwsError(f"{error}: correct ~/.aws/config or @aws(profile=...)", **about)
    response: Any = getattr(error, "response", None)
    if response is None:
        if kind == "EndpointConnectionError":
            error.add_note(_UNREACHABLE)
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    known = response.get("Error", {}).get("Code") in _BUSY
    # What was invoked may have run.
    invoked = getattr(error, "operation_name", "") == "Invoke"
    if status >= _BROKEN and not known and not invoked:
        return None
    return _refused(error, response, service, resource)


def _refused(
    error: Any, response: dict[str, Any], service: str, resource: str
) -> BaseException:
    said = response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    operation = str(getattr(error, "operation_name", ""))
    about = {"service": service, "operation": operation, "resource": resource}
    if code in _BUSY or "Rate exceeded" in message or _QUOTA in message:
        whose = f" of {resource}" if resource else ""
        return PlaceBusyError(f"AWS {service}:{operation}{whose}: {code}: {message}")
    action = ""
    if code in _EXPIRED:
        reason = f"the credentials have expired ({code}): renew them, `aws sso login`"
    elif code in _INVALID:
        reason = f"the credentials are not valid ({code}: {message}): look at the keys"
    elif code in _DENIED:
        found = _ACTION.search(message)
        asked = f"{service}:{operation}"
        action = found[1] if found else _ACTIONS.get(asked, asked)
        reason = f"{action} is not allowed to these credentials: have it granted"
        if message:
            reason += f" ({message})"
    else:
        reason = f"{code}: {message}"
    return AwsError(reason, code=code, action=action, **about)


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
