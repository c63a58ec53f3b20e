"""Whether processors have bfloat16: elsewhere it is slow, or no other than float32."""


def on_processors() -> bool:
    """Of this machine, so far as PyTorch knows."""
    import torch

    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
