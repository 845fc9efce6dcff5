"""Summed cross-entropy over a large vocabulary, in pieces, with the gradient made on the way.

torch's own keeps the logits in float32, their logarithms and their gradient at once: with bf16 logits 12 bytes and more
an entry. Here it is the gradient in the logits' type: 2 bytes, and less traffic.
"""

import torch

ROWS = {"cpu": 256, "cuda": 2048}  # tokens a piece: on a CPU it should stay in the cache


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, labels):
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        rows = ROWS.get(logits.device.type, 1024)
        for start in range(0, len(logits), rows):
            piece = slice(start, start + rows)
            counted = (labels[piece] != -100)[:, None]
            places = labels[piece].clamp(min=0)[:, None]
            logs = torch.log_softmax(logits[piece].float(), dim=-1)
            # where, not a product: 0 x NaN would be NaN in a row that does not count.
            total -= torch.where(counted, logs.gather(1, places), 0.0).sum()
            if gradient is not None:
                # d/dx of -log softmax(x)[y] is softmax(x) - onehot(y).
                shares = logs.exp_()
                shares.scatter_add_(1, places, torch.full_like(places, -1, dtype=shares.dtype))
                gradient[piece] = shares.masked_fill_(~counted, 0.0)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, scale):
        (gradient,) = ctx.saved_tensors
        # In place: nothing else holds it, and a second backward pass over it is an error in torch.
        return gradient.mul_(scale), None


def summed_cross_entropy(logits, labels):
    """Cross-entropy in nats, summed over the labels that are not -100: float32 scalar tensor.

    logits: [tokens, vocabulary], any float type (each piece is computed in float32); labels: int64 [tokens].
    """
    return _SummedCrossEntropy.apply(logits, labels)
