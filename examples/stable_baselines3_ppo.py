"""stable-baselines3: PPO takes an optimizer's class and its arguments; its policy's learning rate is PPO's own."""

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

import edsl


def main():
    torch.set_num_threads(1)
    policy = {
        "optimizer_class": edsl.EAdam,
        "optimizer_kwargs": {"alpha": 0.5, "beta1": 0.01, "eps": 1e-5},
        "net_arch": [32],
    }
    model = PPO(
        "MlpPolicy", "CartPole-v1", learning_rate=0.005, n_steps=256, policy_kwargs=policy, seed=0, device="cpu"
    )
    before, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=5, deterministic=False)
    model.learn(4096)
    after, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=5, deterministic=False)
    assert isinstance(model.policy.optimizer, edsl.PipelineOptimizer)
    return before, after


if __name__ == "__main__":
    print("reward {:.0f} → {:.0f}".format(*main()))
