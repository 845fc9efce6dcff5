"""The loss of a batch, and the held-out documents' loss and bits per byte by language."""

import argparse
import math

from packed_tokens import TokenStore, validation_batches


def mean_loss(model, batch: dict, device):
    """Mean cross-entropy in nats over the labels that are not -100 (scalar tensor) and their number."""
    import torch

    tensors = {name: torch.as_tensor(array.copy(), device=device) for name, array in batch.items()}
    logits = model(
        input_ids=tensors["input_ids"],
        position_ids=tensors["position_ids"],
        attention_mask=tensors["attention"],
        use_cache=False,
    ).logits
    labels = tensors["labels"]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
    return loss, (labels != -100).sum()


def validate(engine, store: TokenStore, held_out: dict, args: argparse.Namespace) -> dict[str, dict]:
    """{language: {"loss": nats a token, "bits_per_byte", "documents"}}, the batches dealt out over the ranks."""
    import torch
    import torch.distributed as dist

    engine.eval()
    rank, world = dist.get_rank(), dist.get_world_size()
    scores = {}
    for language, documents in held_out.items():
        sums = torch.zeros(3, dtype=torch.float64, device=engine.device)
        batches = list(validation_batches(store, documents, args.sequence_length, args.micro_batch_size))
        # Under ZeRO 3 each forward pass is a collective, so every rank runs equally many.
        for number in range(math.ceil(len(batches) / world)):
            index = number * world + rank
            batch, utf8_bytes = batches[min(index, len(batches) - 1)]
            with torch.no_grad():
                loss, count = mean_loss(engine, batch, engine.device)
            if index < len(batches):
                sums += torch.tensor(
                    [float(loss) * int(count), int(count), utf8_bytes], dtype=torch.float64, device=engine.device
                )
        dist.all_reduce(sums)
        nats, tokens, utf8_bytes = sums.tolist()
        scores[language] = {
            "loss": round(nats / tokens, 4),
            "bits_per_byte": round(nats / math.log(2) / utf8_bytes, 4),
            "documents": len(documents.tokens),
        }
    engine.train()
    return scores


def print_validation(when: str, scores: dict[str, dict]) -> None:
    cells = [f"{language} {s['bits_per_byte']:.3f} (n {s['documents']})" for language, s in scores.items()]
    print(f"{when}: bits per byte on held-out documents: {', '.join(cells) or 'none held out'}", flush=True)
