"""Run by torchrun from test_checkpoints.py: saves and loads a tiny model under several ZeRO stages in one group.

Argument: a JSON list of {"zero", "bf16", "load" (folder or null), "save" (folder)}. Without "load" the model is trained
for two steps first. After a load the weights that the model computes with must be the rounded fp32 ones.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import torch
import torch.distributed as dist
from torch import nn

from checkpointing.checkpoints import Checkpoints
from checkpointing.training_state import named_parameters, pieces_of


def make_engine(zero: int, bf16: bool):
    torch.manual_seed(len(os.environ["WORLD_SIZE"]) + zero)
    # 7 x 5 and its like do not divide by two ranks, so that every kind of padding occurs.
    model = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 33), nn.Linear(33, 3, bias=False))
    if bf16:
        model = model.bfloat16()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    config = {
        "train_micro_batch_size_per_gpu": 4 // dist.get_world_size(),
        "gradient_clipping": 1.0,
        "bf16": {"enabled": bf16},
        **({"data_types": {"grad_accum_dtype": "fp32"}} if bf16 and zero >= 2 else {}),  # as train_lm.py has it
        # Parameters of up to 20 elements stay whole on every rank, the others are cut.
        "zero_optimization": {"stage": zero, "stage3_param_persistence_threshold": 20},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=0.01), config=config)
    return engine


def train(engine, steps: int) -> None:
    generator = torch.Generator().manual_seed(dist.get_rank())
    for _ in range(steps):
        data = torch.randn(engine.train_micro_batch_size_per_gpu(), 7, generator=generator)
        loss = engine(data.to(next(engine.module.parameters()).dtype)).float().square().mean()
        engine.backward(loss)
        engine.step()


def check_computed_weights(engine) -> None:
    for piece in pieces_of(engine, whole=True):
        parameter = named_parameters(engine)[piece.name]
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            mine = parameter.detach().reshape(-1)[piece.start : piece.start + piece.numel]
            assert torch.equal(mine, piece.weights.to(mine.dtype)), piece.name


deepspeed.init_distributed("gloo", verbose=False)
for job in json.loads(sys.argv[1]):
    engine = make_engine(job["zero"], job["bf16"])
    if job["load"]:
        assert Checkpoints(engine, Path(job["load"]), {}, keep=1).resume() == (2, {"spikes": [1]})
        assert engine.global_steps == 2
        check_computed_weights(engine)
    else:
        train(engine, 2)
    Checkpoints(engine, Path(job["save"]), {}, keep=1).save(2, {"spikes": [1]})
    engine.destroy()
dist.barrier()
dist.destroy_process_group()
