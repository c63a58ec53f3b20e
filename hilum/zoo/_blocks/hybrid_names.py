"""Names of the published R50+ViT weights (Dosovitskiy et al., 2021) as those of TransUNet's encoder.

Two makers: the npz file of the paper's own code, and timm's `vit_base_r50_s16_...`, which holds the same weights.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from hilum.core.errors import HilumError

ROOT, UNIT = r"patch_embed\.backbone\.", r"patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\."
TIMM = (
    (ROOT + r"stem\.conv\.weight", r"stem.0.weight"),
    (ROOT + r"stem\.norm\.(weight|bias)", r"stem.1.\1"),
    (UNIT + r"conv1\.weight", r"stages.\1.\2.path.0.0.weight"),
    (UNIT + r"conv2\.weight", r"stages.\1.\2.path.2.0.weight"),
    (UNIT + r"conv3\.weight", r"stages.\1.\2.path.4.0.weight"),
    (UNIT + r"norm1\.(weight|bias)", r"stages.\1.\2.path.0.1.\3"),
    (UNIT + r"norm2\.(weight|bias)", r"stages.\1.\2.path.2.1.\3"),
    (UNIT + r"norm3\.(weight|bias)", r"stages.\1.\2.path.4.1.\3"),
    (UNIT + r"downsample\.conv\.weight", r"stages.\1.\2.shortcut.0.weight"),
    (UNIT + r"downsample\.norm\.(weight|bias)", r"stages.\1.\2.shortcut.1.\3"),
    (r"patch_embed\.proj\.(weight|bias)", r"embed.\1"),
    (r"blocks\.(\d+)\.(norm[12])\.(weight|bias)", r"layers.\1.\2.\3"),
    (r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", r"layers.\1.attention.qkv.\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"layers.\1.attention.out.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"layers.\1.mlp.0.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"layers.\1.mlp.3.\2"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)
GOOGLE = (
    (r"conv_root/kernel", r"patch_embed.backbone.stem.conv.weight"),
    (r"gn_root/(scale|bias)", r"patch_embed.backbone.stem.norm.\1"),
    (r"block(\d+)/unit(\d+)/conv(\d)/kernel", r"patch_embed.backbone.stages.\1.blocks.\2.conv\3.weight"),
    (r"block(\d+)/unit(\d+)/gn(\d)/(scale|bias)", r"patch_embed.backbone.stages.\1.blocks.\2.norm\3.\4"),
    (r"block(\d+)/unit(\d+)/conv_proj/kernel", r"patch_embed.backbone.stages.\1.blocks.\2.downsample.conv.weight"),
    (r"block(\d+)/unit(\d+)/gn_proj/(scale|bias)", r"patch_embed.backbone.stages.\1.blocks.\2.downsample.norm.\3"),
    (r"embedding/(kernel|bias)", r"patch_embed.proj.\1"),
    (r"Transformer/posembed_input/pos_embedding", r"pos_embed"),
    (r"Transformer/encoderblock_(\d+)/LayerNorm_0/(scale|bias)", r"blocks.\1.norm1.\2"),
    (r"Transformer/encoderblock_(\d+)/LayerNorm_2/(scale|bias)", r"blocks.\1.norm2.\2"),
    (r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_1/out/(kernel|bias)", r"blocks.\1.attn.proj.\2"),
    (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_0/(kernel|bias)", r"blocks.\1.mlp.fc1.\2"),
    (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_1/(kernel|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"Transformer/encoder_norm/(scale|bias)", r"norm.\1"),
)
# Of whole names; what fits none of them (class token, classifier) stays where it is. Blocks and units count from 1.
ATTENTION = "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/{}/{}"


def of_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """timm's names as those below `encoder.`; the position embedding without its class token, which is not used."""
    found: dict[str, Tensor | None] = {}
    for key, value in state.items():
        name = _translated(key, TIMM)
        if name is not None:
            found[f"encoder.{name}"] = value
    if "encoder.stem.0.weight" not in found:
        seen = "It holds no 'patch_embed.backbone.stem.conv.weight'"
        raise HilumError("HIL-ZOO-06", seen, "Load a Vision Transformer that reads a ResNet, such as R50+ViT-B/16")
    if (position := state.get("pos_embed")) is not None:
        found |= {"encoder.position": position[:, 1:], "pos_embed": None}
    return found


def of_google(state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Names and axis orders of the paper's npz file as those below `encoder.`; query, key and value become one."""
    found, merged = dict[str, Tensor](), list[str]()
    for key, value in state.items():
        if (name := _translated(key, GOOGLE)) is not None:
            name = re.sub(r"stages\.(\d+)\.blocks\.(\d+)", _from_zero, name)
            found[name.replace("kernel", "weight").replace("scale", "weight")] = _turned(key, value)
        elif match := re.fullmatch(ATTENTION.format(r"(\d+)", "query", "(kernel|bias)"), key):
            parts = [ATTENTION.format(match[1], part, match[2]) for part in ("query", "key", "value")]
            if all(part in state for part in parts):
                # a kernel is (dim, heads, width of a head)
                three = [state[p].flatten(1).T if match[2] == "kernel" else state[p].flatten() for p in parts]
                found[f"blocks.{match[1]}.attn.qkv.{'weight' if match[2] == 'kernel' else 'bias'}"] = torch.cat(three)
                merged += parts
    kept = [key for key in state if _translated(key, GOOGLE) is not None]
    return {key: None for key in [*merged, *kept]} | of_timm(found)


def _translated(key: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    """The name that the first fitting rule gives, None where none fits."""
    return next((re.sub(rule, name, key) for rule, name in rules if re.fullmatch(rule, key)), None)


def _from_zero(match: re.Match[str]) -> str:
    return f"stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}"


def _turned(key: str, value: Tensor) -> Tensor:
    """Axes as PyTorch has them: convolutions HWIO to OIHW, linear layers (heads joined) transposed, norms flat."""
    if key.endswith("kernel"):
        return value.permute(3, 2, 0, 1) if value.ndim == 4 else value.reshape(-1, value.shape[-1]).T
    return value if key.endswith("pos_embedding") else value.flatten()
