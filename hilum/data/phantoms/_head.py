"""A head described in millimetres: scalp, skull, folded cortex, ventricles, lesions, as a function of position.

Being a function, the same head can be sampled on any grid, in any orientation, or at displaced points, without
interpolation. It is a small head (about 68 mm long at scale 1), so that volumes stay small; intensities look like T1.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hilum.core.image import Array

BACKGROUND, VENTRICLE, LESION, WHITE, DEEP, CORTEX = range(6)
# Values of `Sampled.tissue`.
SCALP_I, BONE_I, FLUID_I, GREY_I, WHITE_I, DEEP_I, AIR_I = 0.92, 0.09, 0.17, 0.50, 0.80, 0.60, 0.01
# T1-like intensities, white matter 0.8, fat just below 1.


@dataclass(frozen=True)
class Lesion:
    """A lumpy ball: centre and radius in mm, intensity inside, rim brighter than the core where `ring`."""

    centre: Array
    radius: float
    intensity: float
    ring: bool
    stretch: Array


@dataclass(frozen=True)
class Sampled:
    """intensity: float32 0..about 1. tissue: int values above. lesion: 0, or the number of the lesion from 1."""

    intensity: Array
    tissue: Array
    lesion: Array


@dataclass
class Head:
    """One person: all numbers drawn once from `rng`. radii: half axes of the head (x, y, z) in mm."""

    rng: np.random.Generator
    scale: float = 1.0
    radii: Array = field(init=False)
    lesions: list[Lesion] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng
        self.radii = np.array([28.0, 34.0, 27.0]) * self.scale * rng.uniform(0.95, 1.05, 3)
        self._folds = _waves(rng, 22, 9.0 * self.scale, 15.0 * self.scale)
        self._warp = [_waves(rng, 5, 12.0 * self.scale, 22.0 * self.scale) for _ in range(2)]
        self._texture = _waves(rng, 24, 2.5 * self.scale, 6.0 * self.scale)
        self._lumps = _waves(rng, 10, 3.5 * self.scale, 8.0 * self.scale)
        self._bias = rng.normal(size=6) * 0.10
        self._width = rng.uniform(0.9, 1.7)
        self._skew = rng.normal(size=2) * 0.6 * self.scale
        self._grey, self._white = GREY_I + rng.normal() * 0.02, WHITE_I + rng.normal() * 0.02

    def add_lesions(self, count: int, smallest: float = 2.0, largest: float = 5.5, z: float | None = None) -> None:
        """Put `count` lesions into the brain, apart from each other; radii in mm at scale 1; z: slice to lie on."""
        rng = self.rng
        for _ in range(count * 40):
            if len(self.lesions) >= count:
                return
            direction = rng.normal(size=3)
            centre = direction / np.linalg.norm(direction) * rng.uniform(0.25, 0.62) * self.radii
            if z is not None:
                centre[2] = z
            radius = rng.uniform(smallest, largest) * self.scale
            reach = float(np.linalg.norm(centre / self.radii)) + 0.9 * radius / float(self.radii.min())
            near = any(np.linalg.norm(o.centre - centre) < o.radius + radius + 3 * self.scale for o in self.lesions)
            if reach > 0.80 or near or abs(centre[0]) < radius + 1.5 * self.scale:
                continue
            # dark, or bright with contrast agent; never the grey of what surrounds it
            dark = rng.random() < 0.55
            intensity = rng.uniform(0.28, 0.45) if dark else rng.uniform(0.98, 1.2)
            stretch = rng.uniform(0.8, 1.25, 3)
            self.lesions.append(Lesion(centre, radius, intensity, bool(dark and rng.random() < 0.4), stretch))

    def sample(self, x: Array, y: Array, z: Array) -> Sampled:
        """Intensities and labels at points in mm (RAS+, the centre of the head is 0); arrays broadcast together."""
        x, y, z = np.broadcast_arrays(*(np.asarray(v, dtype=np.float32) for v in (x, y, z)))
        unit = self.scale
        shell = _ellipsoid(x, y, z, self.radii)
        mean = float(self.radii.mean())
        skin, brain = (1 - shell) * mean, (1 - shell) * mean - 5.2 * unit
        intensity = np.full(x.shape, AIR_I, dtype=np.float32)
        intensity = _over(intensity, SCALP_I - 0.1, skin, 0.4 * unit)
        intensity = _over(intensity, BONE_I, skin - 2.0 * unit, 0.35 * unit)
        intensity = _over(intensity, FLUID_I, skin - 4.2 * unit, 0.35 * unit)
        cortex, white = self._cortex(x, y, z, brain)
        texture = self._texture(x, y, z) * 0.02
        intensity = _over(intensity, self._grey + texture, cortex, 0.3 * unit)
        intensity = _over(intensity, self._white + texture, white, 0.35 * unit)
        deep, hollow = self._deep(x, y, z), self._ventricles(x, y, z)
        inside = brain > 3 * unit
        deep, hollow = np.where(inside, deep, -9), np.where(inside, hollow, -9)
        intensity = _over(intensity, DEEP_I + texture, deep, 0.4 * unit)
        intensity = _over(intensity, FLUID_I, hollow, 0.35 * unit)
        tissue = np.zeros(x.shape, dtype=np.uint8)
        for value, depth in ((CORTEX, cortex), (WHITE, white), (DEEP, deep), (VENTRICLE, hollow)):
            tissue[depth > 0] = value
        number = np.zeros(x.shape, dtype=np.uint8)
        for row, lesion in enumerate(self.lesions, 1):
            depth = self._lesion_depth(lesion, x, y, z)
            depth = np.where(brain > 1.5 * unit, depth, -9)
            core = lesion.intensity + texture * 2
            if lesion.ring:
                core = core + 0.6 * np.exp(-(((depth - 0.8 * unit) / (0.6 * unit)) ** 2))
            intensity = _over(intensity, core, depth, 0.35 * unit)
            number[depth > 0] = row
        tissue[number > 0] = LESION
        return Sampled((intensity * self.bias(x, y, z)).astype(np.float32), tissue, number)

    def bias(self, x: Array, y: Array, z: Array) -> Array:
        """The coil's smooth brightness, around 1."""
        u, v, w = x / self.radii[0], y / self.radii[1], z / self.radii[2]
        b = self._bias
        return np.exp(b[0] * u + b[1] * v + b[2] * w + 0.5 * (b[3] * u * v + b[4] * v * v + b[5] * w * w))

    def _cortex(self, x: Array, y: Array, z: Array, brain: Array) -> tuple[Array, Array]:
        """Depth in mm inside the cortex surface and inside white matter (negative outside)."""
        unit = self.scale
        dx, dy = self._warp[0](x, y, z) * 1.2 * unit, self._warp[1](x, y, z) * 1.2 * unit
        field = self._folds(x + dx, y + dy, z)
        # |field| over its typical slope is about the distance to the sulcus in mm
        sulcus = np.abs(field) * 2.3 * unit
        # sulci close about 5 mm below the surface, the fissure between the halves a little deeper
        closed = np.clip(brain - 4.0 * unit, 0, None)
        fissure = np.abs(x - self._skew[0] * 0.2) + np.clip(brain - 7 * unit, 0, None)
        cortex = np.minimum(brain, np.minimum(sulcus + closed, fissure) - 0.6 * unit)
        return cortex, np.minimum(cortex - 1.5 * unit, brain - 1.7 * unit)

    def _ventricles(self, x: Array, y: Array, z: Array) -> Array:
        """Depth in mm inside the two lateral ventricles and the third."""
        unit, width = self.scale, self._width
        parts = []
        for side in (-1, 1):
            px, py, pz = side * x - 2.6 * unit, y - self._skew[1], z - 3.5 * unit
            # the body bends outwards to the front and the back, as a shallow horseshoe
            bend = px - 0.016 / unit * py**2
            parts.append(_blob(bend, py, pz + 0.010 / unit * py**2, (1.9 * width, 12.0, 2.8 * width), unit))
            parts.append(_blob(px - 3.4 * unit, py + 10.5 * unit, pz + 3.2 * unit, (1.9 * width, 4.2, 3.4), unit))
        parts.append(_blob(x, y - self._skew[1], z + 2.5 * unit, (0.75 * width, 4.5, 3.5), unit))
        return np.maximum.reduce(parts)

    def _deep(self, x: Array, y: Array, z: Array) -> Array:
        """Depth in mm inside thalamus and striatum, both sides."""
        unit = self.scale
        parts = []
        for side in (-1, 1):
            px = side * x
            parts.append(_blob(px - 4.6 * unit, y + 2.5 * unit, z + 1.5 * unit, (3.2, 4.6, 3.4), unit))
            parts.append(_blob(px - 8.8 * unit, y - 3.5 * unit, z + 0.5 * unit, (2.5, 5.6, 3.6), unit))
        return np.maximum.reduce(parts)

    def _lesion_depth(self, lesion: Lesion, x: Array, y: Array, z: Array) -> Array:
        px, py, pz = (v - c for v, c in zip((x, y, z), lesion.centre.astype(np.float32), strict=True))
        away = np.sqrt(sum((p / s) ** 2 for p, s in zip((px, py, pz), lesion.stretch, strict=True)))
        depth = lesion.radius - away
        near = depth > -0.3 * lesion.radius
        out = np.full(x.shape, -9.0, dtype=np.float32)
        out[near] = depth[near] + 0.15 * lesion.radius * np.clip(self._lumps(x[near], y[near], z[near]), -1.5, 1.5)
        return out


def _waves(rng: np.random.Generator, count: int, shortest: float, longest: float) -> Any:
    """A smooth random function of position with standard deviation 1: plane waves between two wavelengths in mm."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    k = (directions * (2 * np.pi / rng.uniform(shortest, longest, size=(count, 1)))).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)

    def value(x: Array, y: Array, z: Array) -> Array:
        total = np.zeros(np.shape(x), dtype=np.float32)
        for row, shift in zip(k, phase, strict=True):
            total += np.sin(row[0] * x + row[1] * y + row[2] * z + shift)
        return total * np.float32(np.sqrt(2 / count))

    return value


def _ellipsoid(x: Array, y: Array, z: Array, radii: Array) -> Array:
    """1 on the surface; slightly squared off, as heads are."""
    u, v, w = (np.abs(p / r) for p, r in zip((x, y, z), radii.astype(np.float32), strict=True))
    return (u**2.2 + v**2.2 + w**2.2) ** (1 / 2.2)


def _blob(x: Array, y: Array, z: Array, radii: tuple[float, float, float], unit: float) -> Array:
    """Rough depth in mm inside an ellipsoid (radii in mm at scale 1)."""
    a, b, c = (r * unit for r in radii)
    return (1 - np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)) * min(a, b, c)


def _over(below: Array, value: Array | float, depth: Array, soft: float) -> Array:
    """`value` where depth > 0, mixed with what lies below over `soft` mm: partial volume."""
    share = np.clip(depth / (2 * soft) + 0.5, 0, 1)
    return (below + (value - below) * share).astype(np.float32)
