"""Everything that `ravn` raises for what a user can cause.

    RavnError
    ├── InputError             an option, name, network, weight or data set that can't be used
    │   └── BudgetError        a budget below the smallest possible file
    ├── ArtifactError          a .ravn file that is truncated, altered, foreign or newer
    └── MissingPackageError    an optional package is not installed

Every message is one sentence that repeats the input and says what would be right.
"""


class RavnError(Exception):
    """Base of all errors that `ravn` raises on purpose."""


class InputError(RavnError, ValueError):
    """An option, name, network, weight or data set that can't be used."""


class BudgetError(InputError):
    """A byte budget that no plan can meet.

    Args:
        message: one sentence for the user.
        smallest_bytes: size in bytes of the smallest file that could be written.
    """

    def __init__(self, message: str, smallest_bytes: int) -> None:
        super().__init__(message)
        self.smallest_bytes = smallest_bytes


class ArtifactError(RavnError):
    """A `.ravn` file that is truncated, altered, foreign or written by a newer version."""


class MissingPackageError(RavnError, ImportError):
    """An optional package that the call needs is not installed.

    Args:
        package: name of the package as imported.
        extra: name of the extra of `ravn` that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed; install it with: pip install 'ravn[{extra}]'")
        self.package = package
        self.extra = extra


def told(error: BaseException) -> str:
    """The first line of what somebody else's error says, or its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
