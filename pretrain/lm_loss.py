"""The loss of a batch as a sum, and the factor that makes it the mean over all counted tokens of a step.

Micro-batches hold different numbers of counted tokens (padding, document borders, loss masks), so a mean of their means
would weigh a token by the company it keeps. Every micro-batch is therefore summed, and every sum divided by one number:
the labels of the whole step, which each rank reads from the data alone (`windows.labels_in`).
"""


def summed_loss(model, batch: dict, device):
    """(cross-entropy in nats summed over the counted labels: float32 scalar tensor, their number: int).

    batch: as a window layout's `batch` gives it. No counted label: the sum is 0 and so is its gradient.
    """
    import torch

    labels = torch.as_tensor(batch["labels"], device=device)
    logits = model(
        input_ids=torch.as_tensor(batch["input_ids"], device=device),
        position_ids=torch.as_tensor(batch["position_ids"], device=device),
        attention_mask=attention_mask(batch["documents"], device),
        use_cache=False,
    ).logits
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100, reduction="sum"
    )
    return nats, int((batch["labels"] != -100).sum())


def attention_mask(documents, device):
    """bool [rows, 1, length, length], True where a token may look: not ahead, and in its own document only.

    documents: int [rows, length], which document of its row a token belongs to; None, where a plain causal mask does
    (one document a row, or attention across documents asked for), gives None: the model then masks by itself.
    Made on the device: at length 8192 the mask of one window is 64 MiB, its documents are 32 KiB.
    """
    import torch

    if documents is None:
        return None
    documents = torch.as_tensor(documents, device=device)
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same.tril()


def backward_scale(labels_in_step: int, world: int, accumulation_steps: int) -> float:
    """What each micro-batch's summed loss is multiplied by before `engine.backward`.

    DeepSpeed divides by the accumulation steps and averages the gradients over the ranks; both are undone here, so
    that the step's gradient is that of the mean over all its counted tokens. A step without any moves nothing.
    """
    return world * accumulation_steps / max(1, labels_in_step)
