"""The four arms of the paper's ablation (Table 6), as changes of a run's settings: all at equal bytes and epochs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ravn.allocators import Allocator, allocator_from_name
from ravn.errors import InputError
from ravn.fixed_plans import FIXED_PLANS, FixedPlan
from ravn.settings import Settings


@dataclass(frozen=True)
class Arm:
    """One arm.

    Args:
        title: what the arm is, in words.
        decider: name of the allocator, or of the fixed plan, that decides bit-widths.
        task_term_only: bits and weights answer to lambda m(g, g_f) alone (Eq. 4), not to L_fidelity as well (Eq. 7).
        vectors: weights are coded together: by clusters where the preset has them, along a trellis at the end. Arms
            without train the plan that was decided, and no other.
    """

    title: str
    decider: str
    task_term_only: bool
    vectors: bool


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "vq": Arm("k-means codebooks, one bit-width for all layers", "codebooks", task_term_only=False, vectors=True),
        "aq": Arm("bits per layer by knapsack", "knapsack", task_term_only=True, vectors=False),
        "rl+aq": Arm("bits per layer by PPO under L_ReAQ (Eq. 4)", "ppo", task_term_only=True, vectors=False),
        "full": Arm("PPO under L_RAVN (Eq. 7), vectors", "ppo", task_term_only=False, vectors=True),
    }
)
"""The paper names them and defines none (docs/method.md)."""


def arm(name: str, settings: Settings) -> tuple[Allocator | FixedPlan, Settings]:
    """What decides, and the settings, of an arm of the ablation.

    Args:
        name: "vq", "aq", "rl+aq" or "full".
        settings: of the full method; the arm takes away from them.

    Raises:
        InputError: there is no such arm.
        MissingPackageError: the arm needs a package that is not installed.
    """
    if name not in ARMS:
        raise InputError(f"there is no arm {name!r} of the ablation; there are {', '.join(ARMS)}")
    chosen = ARMS[name]
    if chosen.task_term_only:
        settings = replace(settings, fidelity=0.0, recipe=replace(settings.recipe, fidelity=0.0))
    if not chosen.vectors:
        settings = replace(settings, clusters=0, trellis=False, trials=False)
    if chosen.decider in FIXED_PLANS:
        return FIXED_PLANS[chosen.decider], settings
    return allocator_from_name(chosen.decider, settings.seed), settings
