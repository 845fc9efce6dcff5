"""Proof, before training on packed rows, that the model at hand keeps the examples of a row apart.

Families differ in what they do with a mask and positions: a model with ALiBi positions (BLOOM) takes neither, and an
attention kernel may ignore the mask. The proof is the model's own output, so that it holds for families never seen.
"""

from run_record import InputError
from sft_data.batching import pack


def prove_packing(model, examples: list[dict], half: bool = False) -> None:
    """Compare the logits of examples in one row with those of each alone.

    half: the model computes in 16 bits though its weights may be float32 (autocast).

    Errors: InputError when they differ by more than rounding does: 0.1 % of the largest in float32, 5 % in half
    precision (bfloat16 keeps 8 bits: 0.4 % an operation).
    """
    import torch

    device = next(model.parameters()).device
    row = {name: tensor.to(device) for name, tensor in pack(examples).items() if name != "labels"}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = model(**row, use_cache=False).logits[0].float()
            alone = torch.cat(
                [
                    model(input_ids=torch.tensor([[*example["input_ids"]]], device=device), use_cache=False).logits[0]
                    for example in examples
                ]
            ).float()
        half = half or next(model.parameters()).dtype != torch.float32
        allowed = 0.05 if half else 1e-3
        kept_apart = float((together - alone).abs().max()) <= allowed * float(alone.abs().max())
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        raise InputError(
            f"this model takes no packed rows ({str(error).splitlines()[0]}); leave out --packing"
        ) from None
    finally:
        model.train(training)
    if not kept_apart:
        raise InputError("in this model the examples of a packed row see each other; leave out --packing")


def make_packing_guard(examples: list[dict]):
    """A Trainer callback that proves packing once the model is where it will train."""
    from transformers import TrainerCallback

    class PackingGuard(TrainerCallback):
        def on_train_begin(self, args, _state, _control, model=None, **_):
            prove_packing(model, examples, args.bf16)

    return PackingGuard()
