"""Attention within documents: a batch of packed windows in the form that the attention implementation needs.

Two ways lead to the same logits (a test compares them):

masked     the batch as rows, with a mask [rows, 1, length, length] of who may look at whom; any model and kernel, but
           its cost grows with the square of the row's length, and the fastest kernels take no mask
flattened  the rows end to end as one, with the places where documents begin; each document costs the square of its own
           length. The flash-attn library takes this form, and so does `documents` below, which needs no library
"""

import argparse

import numpy as np

from run_record import InputError

CHOICES = ("auto", "documents", "flash_attention_3", "flash_attention_2", "sdpa", "eager", "flex_attention")
FLATTENED = ("documents", "flash_attention_2", "flash_attention_3")


def choose_attention(args: argparse.Namespace, model_class, config, gpu: bool, bf16: bool) -> str:
    """The attention to ask the model for. Errors: InputError where the wanted one cannot run here."""
    wanted = args.attn
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    flash = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
    if wanted in flash:
        if not gpu or not bf16:
            raise InputError(f"--attn {wanted} runs on a GPU in bf16 only; use --attn auto")
        if not flash[wanted]():
            package = "flash-attn" if wanted.endswith("2") else "flash-attn-3"
            raise InputError(f"--attn {wanted} needs the package {package}, which is not installed; use --attn auto")
        return wanted
    if wanted == "flex_attention" and not gpu:
        raise InputError("--attn flex_attention has no backward pass on a CPU; use --attn auto")
    # Capped scores, the newer families' dropout of scores, and an attention of a model's own are left to the library.
    text = config.get_text_config()
    free = getattr(model_class, "_supports_attention_backend", False) and not any(
        getattr(text, name, None) for name in ("attn_logit_softcapping", "attention_dropout")
    )
    if wanted == "documents" and not free:
        raise InputError(f"--attn documents does not fit {config.model_type}, whose attention is its own; use sdpa")
    if wanted != "auto":
        return wanted
    if gpu and bf16:
        for name in ("flash_attention_3", "flash_attention_2"):
            if flash[name]() and getattr(model_class, "_supports_flash_attn", False):
                return name
    # A compiled graph must not depend on where documents end, as one call a document would.
    if free and ((gpu and bf16) or not args.compile):
        return "documents"
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def register_document_attention() -> None:
    """Make `documents` known to transformers, which asks no mask function for names that have none."""
    from transformers import AttentionInterface

    AttentionInterface.register("documents", attend_within_documents)


def document_bounds(batch: dict) -> np.ndarray:
    """int32: where each document begins among the flattened rows, and the end. A row's end is a document's end."""
    ids, documents = batch["input_ids"], batch.get("documents")
    opens = np.zeros(ids.shape, bool)
    opens[:, 0] = True
    if documents is not None:
        opens[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return np.append(np.flatnonzero(opens), ids.size).astype(np.int32)


def model_inputs(implementation: str, batch: dict, device, dtype) -> dict:
    """What the model is called with. Logits come back [rows, length, vocabulary], or flattened [1, rows x length, ...].

    batch: input_ids, position_ids int64 [rows, length]; documents int [rows, length], which document of its row a
    token belongs to, or None, where each row is one document (or attention across documents is asked for).
    dtype: of the model's activations.
    """
    import torch

    ids = torch.as_tensor(batch["input_ids"]).to(device, non_blocking=True)
    positions = torch.as_tensor(batch["position_ids"]).to(device, non_blocking=True)
    if implementation not in FLATTENED:
        # flex_attention makes a block mask of its own from positions that begin again.
        mask = None if implementation == "flex_attention" else attention_mask(batch.get("documents"), device)
        if implementation == "eager" and mask is not None:
            # eager adds its mask to the scores: True would count as 1 and hide nothing.
            mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(~mask, torch.finfo(dtype).min)
        return {"input_ids": ids, "position_ids": positions, "attention_mask": mask, "use_cache": False}
    bounds = document_bounds(batch)
    starts = torch.as_tensor(bounds).to(device, non_blocking=True)
    longest = int(np.diff(bounds).max())
    return {
        "input_ids": ids.view(1, -1),
        "position_ids": positions.view(1, -1),
        "attention_mask": None,
        "use_cache": False,
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def attention_mask(documents, device):
    """bool [rows, 1, length, length], True where a token may look: not ahead, and in its own document only.

    documents: as in `model_inputs`; None gives None: the model then masks by itself, causally. Made on the device: at
    length 8192 the mask of one window is 64 MiB, its documents are 32 KiB.
    """
    import torch

    if documents is None:
        return None
    documents = torch.as_tensor(documents).to(device, non_blocking=True)
    return (documents[:, None, :, None] == documents[:, None, None, :]).tril()


def attend_within_documents(
    module,
    query,
    key,
    value,
    attention_mask,
    dropout=0.0,
    scaling=None,
    sliding_window=None,
    cu_seq_lens_q=None,
    max_length_q=None,
    **kwargs,
):
    """Causal attention of each document of a flattened row (transformers' attention interface).

    query [1, heads, tokens, size]; key, value with as many heads or, grouped, fewer; cu_seq_lens_q int32
    [documents + 1]; sliding_window: tokens that a place sees, itself included. Returns [1, tokens, heads, size], None.
    On a GPU in half precision and without dropout torch's own flash kernel does all documents in one call; else there
    is one call a document.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if cu_seq_lens_q is None:  # called from elsewhere, with rows that are one document each
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    if kwargs.get("s_aux") is not None or kwargs.get("softcap") is not None:
        raise NotImplementedError("attention within documents: no sinks or capped scores")
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        window = (-1 if sliding_window is None else sliding_window - 1, 0)
        out = varlen_attn(
            *(tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value)),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=window,
            enable_gqa=grouped,
        )
        return out[None], None
    # split, not slices: the backward pass of a slice writes zeros over the whole tensor for each document.
    lengths = torch.diff(cu_seq_lens_q).tolist()
    outs = [
        torch.nn.functional.scaled_dot_product_attention(
            *qkv,
            attn_mask=_window_mask(qkv[0], sliding_window),
            dropout_p=dropout,
            scale=scaling,
            is_causal=not _is_cut(qkv[0], sliding_window),
            enable_gqa=grouped,
        )
        for qkv in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(outs, dim=2).transpose(1, 2), None


def _is_cut(query, sliding_window: int | None) -> bool:
    return sliding_window is not None and query.shape[2] > sliding_window


def _window_mask(query, sliding_window: int | None):
    """None where the causal mask alone does; else bool [length, length] of the sliding window."""
    import torch

    if not _is_cut(query, sliding_window):
        return None
    length = query.shape[2]
    return torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - sliding_window)
