"""One trained network that all tests of training share; training never changes it."""

import pytest
from separable import trained_task

from ravn.task import Task


@pytest.fixture(scope="session")
def task() -> Task:
    return trained_task(dropout=0.1)
