"""The learner behind the policies: maskable PPO of sb3-contrib."""

from typing import Any

from ravn.errors import MissingPackageError


def agent(
    environment: Any, *, seed: int, steps: int, rate: float, batch: int, epochs: int, entropy: float, hidden: int
) -> Any:
    """A learner whose policy and value have one hidden layer each.

    Args:
        environment: a vectorised environment.
        seed: of the first weights and of all draws.
        steps: decisions per episode.
        rate: learning rate.
        batch: decisions per gradient step.
        epochs: passes over the episodes of an update.
        entropy: weight of the policy's entropy in its objective.
        hidden: width of the hidden layer.

    Raises:
        MissingPackageError: sb3-contrib is not installed.
    """
    try:
        from sb3_contrib import MaskablePPO
    except ImportError as error:
        raise MissingPackageError("sb3_contrib", "rl") from error
    return MaskablePPO(
        "MlpPolicy",
        environment,
        learning_rate=rate,
        n_steps=steps,
        batch_size=batch,
        n_epochs=epochs,
        gamma=1.0,
        gae_lambda=0.98,
        ent_coef=entropy,
        policy_kwargs={"net_arch": [hidden]},
        seed=seed,
        device="cpu",
    )
