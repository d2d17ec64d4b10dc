"""Street scenes drawn from a random generator: an image and the polygons that label it, exact to the pixel.

A scene is a list of objects in painting order. Each is drawn inside the very polygon that labels it, so
image and annotation agree. Classes share colours on purpose (grey roads, walls, poles and cars; green
fences and trees): shape, texture and place must tell them apart. No object is narrower than 5 pixels.

Units are pixels of the image; x goes right, y goes down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]
Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(y, x) float arrays of one shape → RGB 0..255 of shape (…, 3)."""

NARROWEST = 5.0

GREYS = [(88, 88, 92), (112, 112, 114), (140, 138, 134), (166, 164, 160)]
EARTHS = [(150, 120, 96), (128, 84, 66), (176, 158, 128), (108, 94, 80)]
GREENS = [(62, 92, 48), (84, 104, 58), (48, 74, 50), (110, 112, 62)]
VIVIDS = [(170, 44, 40), (44, 72, 150), (196, 168, 56), (216, 214, 208), (40, 40, 46), (60, 116, 92)]


class SceneObject(NamedTuple):
    """A label, the polygon that it covers and how its pixels look."""

    label: str
    polygon: Points
    texture: Texture


class Light(NamedTuple):
    """Of one drive: how bright, of what tint, and which sky."""

    gain: float
    tint: np.ndarray
    sky: tuple[np.ndarray, np.ndarray]
    noise: float


def draw_light(random: np.random.Generator) -> Light:
    """The light of a drive: noon, overcast or evening, with a brightness of its own."""
    skies = [((96, 140, 196), (176, 200, 222)), ((168, 172, 176), (200, 200, 198)), ((120, 116, 150), (226, 170, 120))]
    tints = [(1.0, 1.0, 1.0), (0.97, 1.0, 1.03), (1.08, 0.99, 0.88)]
    kind = int(random.integers(3))
    top, bottom = (np.array(color, float) for color in skies[kind])
    tint = np.array(tints[kind]) * random.uniform(0.97, 1.03, 3)
    return Light(float(random.uniform(0.65, 1.15)), tint, (top, bottom), float(random.uniform(3.0, 7.0)))


def draw_scene(height: int, width: int, light: Light, random: np.random.Generator) -> list[SceneObject]:
    """The objects of one street scene in painting order, from the sky to the nearest pedestrian."""
    return _Street(height, width, light, random).objects()


def render(
    objects: list[SceneObject], height: int, width: int, light: Light, random: np.random.Generator
) -> np.ndarray:
    """Paint the objects, then light and camera noise. uint8 (height, width, 3)."""
    canvas = np.zeros((height, width, 3))
    for entry in objects:
        stencil = Image.new("1", (width, height))
        ImageDraw.Draw(stencil).polygon([value for point in entry.polygon for value in point], fill=1)
        y, x = np.nonzero(np.asarray(stencil))
        canvas[y, x] = entry.texture(y.astype(float), x.astype(float))
    shadow = 1.0 - 0.25 * random.random() * np.linspace(-1, 1, width)[None, :, None]
    lit = canvas * light.gain * light.tint * shadow + random.normal(0.0, light.noise, canvas.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


class _Street:
    """One street seen from a car: a vanishing point, two kerbs, and what stands along them."""

    def __init__(self, height: int, width: int, light: Light, random: np.random.Generator) -> None:
        self.height, self.width, self.light, self.random = height, width, light, random
        self.unit = height / 192.0
        self.horizon = height * random.uniform(0.38, 0.50)
        self.vanishing = width * random.uniform(0.38, 0.62)
        # Half widths of the road and of road plus pavements at the lower edge of the image.
        self.road = width * random.uniform(0.42, 0.62)
        self.street = self.road + width * random.uniform(0.22, 0.38)

    def objects(self) -> list[SceneObject]:
        standing = [
            *(self._tree() for _ in range(self.random.integers(1, 4))),
            *(self._pole() for _ in range(self.random.integers(1, 4))),
            *(self._sign() for _ in range(self.random.integers(1, 3))),
            *(self._pedestrian() for _ in range(self.random.integers(1, 4))),
            *(self._bicyclist() for _ in range(self.random.integers(0, 3))),
            *(self._car() for _ in range(self.random.integers(1, 4))),
        ]
        standing.sort(key=lambda entry: entry[0])
        ground = [self._ground(), self._road(), *self._markings()]
        return [
            self._sky(),
            *self._buildings(),
            *ground,
            *(fence for side in (-1, 1) if self.random.random() < 0.75 for fence in [self._fence(side)]),
            *(part for _, parts in standing for part in parts),
        ]

    # What is far away.

    def _sky(self) -> SceneObject:
        top, bottom = self.light.sky
        clouds = _waves(self.random, 22 * self.unit)

        def texture(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            share = np.clip(y / self.horizon, 0, 1)[:, None]
            return top * (1 - share) + bottom * share + 12 * clouds(y, x)[:, None]

        return SceneObject("sky", _box(0, 0, self.width, self.horizon), texture)

    def _buildings(self) -> list[SceneObject]:
        """A row of fronts on either side, the far ones first."""
        found: list[SceneObject] = []
        for side in (-1, 1):
            near = 1.15
            while near > 0.12:
                far = near * self.random.uniform(0.5, 0.75)
                if self.random.random() < 0.85:
                    found.append(self._building(side, near, far))
                near = far
        return found[::-1]

    def _building(self, side: int, near: float, far: float) -> SceneObject:
        storeys = self.random.uniform(0.5, 1.0) * self.height
        x_near, base_near = self._place(side * self.street, near)
        x_far, base_far = self._place(side * self.street, far)
        base = np.array(_pick(self.random, [*GREYS, *EARTHS])) * self.random.uniform(0.85, 1.15)
        window = base * self.random.uniform(0.45, 0.7) + self.random.uniform(0, 30)
        pitch = 15 * self.unit

        def texture(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            # Rows of windows run towards the vanishing point, as the cornices do.
            depth = np.maximum(np.abs(x - self.vanishing) / self.street, 0.05)
            row = (self.horizon - y) / (depth * pitch) + 50
            column = 1.6 / depth
            pane = (np.mod(row, 1) < 0.55) & (np.mod(column, 0.55) < 0.3)
            return np.where(pane[:, None], window, base)

        polygon = [
            (x_near, base_near),
            (x_near, self.horizon - near * storeys * 0.8),
            (x_far, self.horizon - far * storeys * 0.8),
            (x_far, base_far),
        ]
        return SceneObject("building", polygon, texture)

    # What lies on the ground.

    def _ground(self) -> SceneObject:
        base = np.array(_pick(self.random, [*GREYS[1:], EARTHS[2]]), float)
        slab = 0.06

        def texture(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            depth = np.maximum((y - self.horizon) / (self.height - self.horizon), 0.02)
            across = (x - self.vanishing) / depth / self.width
            joint = (np.mod(across, slab * 2) < 0.018) | (np.mod(0.35 / depth, slab * 4) < 0.03)
            return np.where(joint[:, None], base * 0.78, base)

        return SceneObject("pavement", _box(0, self.horizon, self.width, self.height), texture)

    def _road(self) -> SceneObject:
        base = np.array(_pick(self.random, GREYS[:3]), float) * self.random.uniform(0.85, 1.05)
        patches = _waves(self.random, 30 * self.unit)
        return SceneObject(
            "road", self._wedge(self.road), lambda y, x: base + 9 * patches(y, x)[:, None] + _grain(y, x)
        )

    def _markings(self) -> list[SceneObject]:
        """White dashes in the middle and, at times, lines at the kerbs; they are road."""
        white = np.array((206.0, 204.0, 196.0))
        lanes = [0.0] if self.random.random() < 0.8 else [-0.33, 0.33]
        edges = [(lane * self.road, 0.018 * self.width) for lane in lanes]
        found = []
        for across, half in edges:
            phase, near = self.random.uniform(0.7, 1.0), 1.0
            while near > 0.16:
                far = near * phase
                corners = [(across - half, near), (across + half, near), (across + half, far), (across - half, far)]
                found.append(SceneObject("road", [self._place(*corner) for corner in corners], _plain(white)))
                near = far * 0.72
        return [entry for entry in found if _narrowest(entry.polygon) >= NARROWEST]

    def _fence(self, side: int) -> SceneObject:
        across = side * (self.road + (self.street - self.road) * self.random.uniform(0.35, 0.8))
        near, far = self.random.uniform(0.7, 1.1), self.random.uniform(0.25, 0.4)
        tall = self.height * self.random.uniform(0.20, 0.28)
        base = np.array(_pick(self.random, [GREYS[2], EARTHS[0], EARTHS[1], GREENS[2]]), float)
        (x_near, y_near), (x_far, y_far) = self._place(across, near), self._place(across, far)

        def texture(y: np.ndarray, x: np.ndarray) -> np.ndarray:
            gap = np.mod(x, 6 * self.unit) < 2.4 * self.unit
            return np.where(gap[:, None], base * 0.45, base * 1.1)

        polygon = [(x_near, y_near), (x_near, y_near - near * tall), (x_far, y_far - far * tall), (x_far, y_far)]
        return SceneObject("fence", polygon, texture)

    # What stands: (y of its foot, parts in painting order).

    def _tree(self) -> tuple[float, list[SceneObject]]:
        x, foot, depth = self._stand(self.road * 1.08, self.street * 1.05, 0.35, 1.0)
        radius = max(depth * self.height * self.random.uniform(0.20, 0.30), 9 * self.unit)
        trunk = max(depth * 11 * self.unit, NARROWEST)
        middle = foot - depth * self.height * 0.42 - radius * 0.5
        crown = np.array(_pick(self.random, GREENS)) * self.random.uniform(0.8, 1.2)
        leaves = _waves(self.random, 5 * self.unit, waves=10)
        bark = np.array(EARTHS[3]) * self.random.uniform(0.7, 1.0)
        parts = [
            SceneObject("tree", _box(x - trunk / 2, middle, trunk, foot - middle), lambda y, x: bark + _grain(y, x)),
            SceneObject(
                "tree",
                _blob(self.random, x, middle, radius, radius * self.random.uniform(0.8, 1.15)),
                lambda y, x: crown + 26 * leaves(y, x)[:, None] + 2 * _grain(y, x),
            ),
        ]
        return foot, parts

    def _pole(self) -> tuple[float, list[SceneObject]]:
        x, foot, depth = self._stand(self.road * 1.03, self.road * 1.25, 0.45, 1.0)
        return foot, [self._post(x, foot, depth, self.height * self.random.uniform(0.75, 1.0) * depth)]

    def _post(self, x: float, foot: float, depth: float, tall: float) -> SceneObject:
        thick = max(depth * self.random.uniform(9, 12) * self.unit, NARROWEST + 2)
        base = np.array(_pick(self.random, [*GREYS, EARTHS[3], GREENS[2]])) * self.random.uniform(0.7, 1.05)

        def texture(y: np.ndarray, px: np.ndarray) -> np.ndarray:
            round_ = 1.0 - 0.8 * np.abs((px - x) / thick)  # a cylinder: bright in the middle
            return base * (0.65 + 0.6 * round_[:, None])

        return SceneObject("pole", _box(x - thick / 2, foot - tall, thick, tall), texture)

    def _sign(self) -> tuple[float, list[SceneObject]]:
        x, foot, depth = self._stand(self.road * 1.05, self.road * 1.3, 0.5, 1.0)
        tall, radius = self.height * 0.48 * depth, max(18 * depth, 9.0) * self.unit
        middle, face = foot - tall, np.array(_pick(self.random, VIVIDS), float)
        corners = int(self.random.choice([3, 4, 8, 16]))
        turn = np.pi / corners if corners == 8 else np.pi / 4 if corners == 4 else -np.pi / 2
        angles = turn + np.arange(corners) * 2 * np.pi / corners
        rim = np.array((214.0, 210.0, 204.0)) if face.sum() < 560 else np.array((150.0, 40.0, 40.0))

        def texture(y: np.ndarray, px: np.ndarray) -> np.ndarray:
            away = np.hypot(y - middle, px - x)
            glyph = (np.abs(px - x) < radius * 0.16) & (np.abs(y - middle) < radius * 0.42)
            return np.where((glyph | (away > radius * 0.72))[:, None], rim, face)

        board = [(x + radius * float(np.cos(a)), middle + radius * float(np.sin(a))) for a in angles]
        return foot, [self._post(x, foot, depth, tall), SceneObject("sign_symbol", board, texture)]

    def _car(self) -> tuple[float, list[SceneObject]]:
        lane = self.random.choice([-0.55, 0.5, 0.95]) * self.road
        depth = self.random.uniform(0.22, 0.8)
        x, foot = self._place(lane, depth)
        half, tall = max(depth * self.width * 0.165, 8.0), max(depth * self.height * 0.36, 9.0)
        paint = np.array(_pick(self.random, [*VIVIDS, *GREYS])) * self.random.uniform(0.8, 1.15)
        shape = [(-1, 0), (-1, -0.5), (-0.72, -0.58), (-0.55, -1), (0.55, -1), (0.72, -0.58), (1, -0.5), (1, 0)]

        def texture(y: np.ndarray, px: np.ndarray) -> np.ndarray:
            u, v = (px - x) / half, (foot - y) / tall
            color = np.broadcast_to(paint, (len(y), 3)).copy()
            color[(v > 0.6) & (v < 0.92) & (np.abs(u) < 0.6)] = (46, 54, 64)
            color[v < 0.14] *= 0.35
            color[(v < 0.24) & (np.abs(np.abs(u) - 0.72) < 0.2)] = (22, 22, 24)
            color[(v > 0.32) & (v < 0.44) & (np.abs(u) > 0.74)] = (190, 60, 50)
            return color

        return foot, [SceneObject("car", [(x + half * u, foot + tall * v) for u, v in shape], texture)]

    def _pedestrian(self) -> tuple[float, list[SceneObject]]:
        x, foot, depth = self._stand(self.road * 0.85, self.road * 1.35, 0.4, 1.0)
        tall = max(depth * self.height * 0.46, 30 * self.unit)
        shape = [(-0.10, 0), (-0.15, -0.46), (-0.19, -0.5), (-0.18, -0.78), (-0.08, -0.84), (-0.10, -0.96), (0, -1.0)]
        outline = [*shape, *((-u, v) for u, v in shape[-2::-1])]
        return foot, [SceneObject("pedestrian", _scaled(outline, x, foot, tall), self._clothes(x, foot, tall))]

    def _bicyclist(self) -> tuple[float, list[SceneObject]]:
        x, foot, depth = self._stand(self.road * 0.35, self.road * 0.9, 0.4, 0.9)
        tall = max(depth * self.height * 0.42, 28 * self.unit)
        outline = [
            (-0.42, -0.02), (-0.50, -0.18), (-0.40, -0.36), (-0.20, -0.42), (-0.16, -0.74), (-0.06, -0.82),
            (-0.08, -0.96), (0.02, -1.0), (0.12, -0.95), (0.10, -0.82), (0.24, -0.62), (0.38, -0.38),
            (0.50, -0.18), (0.42, -0.02), (0.22, 0), (-0.22, 0),
        ]  # fmt: skip
        rider = self._clothes(x, foot, tall)

        def texture(y: np.ndarray, px: np.ndarray) -> np.ndarray:
            u, v = (px - x) / tall, (foot - y) / tall
            color = rider(y, px)
            away = np.minimum(np.hypot(u - 0.29, v - 0.19), np.hypot(u + 0.29, v - 0.19))
            low = (v < 0.42) & (np.abs(u) > 0.1)
            color[low] = (104, 104, 104)
            color[low & (np.abs(away - 0.16) < 0.05)] = (24, 24, 26)
            return color

        return foot, [SceneObject("bicyclist", _scaled(outline, x, foot, tall), texture)]

    def _clothes(self, x: float, foot: float, tall: float) -> Texture:
        shirt = np.array(_pick(self.random, [*VIVIDS, *GREENS])) * self.random.uniform(0.8, 1.1)
        trousers = np.array(_pick(self.random, [(52, 56, 72), (78, 70, 62), (40, 40, 42)]), float)
        skin = np.array(_pick(self.random, [(206, 164, 136), (150, 108, 82), (98, 68, 52)]), float)

        def texture(y: np.ndarray, px: np.ndarray) -> np.ndarray:
            v = ((foot - y) / tall)[:, None]
            return np.where(v > 0.83, skin, np.where(v > 0.46, shirt, trousers)) * np.ones((len(y), 3))

        return texture

    # Perspective.

    def _place(self, across: float, depth: float) -> tuple[float, float]:
        """A point of the ground, ``across`` pixels from the middle at depth 1 (the lower edge of the image)."""
        return self.vanishing + across * depth, self.horizon + (self.height - self.horizon) * depth

    def _stand(self, nearest: float, farthest: float, low: float, high: float) -> tuple[float, float, float]:
        """A random place on either side: x, y of the foot, depth. Drawn again until it is in view."""
        for _ in range(20):
            depth = float(self.random.uniform(low, high))
            across = self.random.choice([-1, 1]) * self.random.uniform(nearest, farthest)
            x, y = self._place(across, depth)
            if 0.03 * self.width < x < 0.97 * self.width:
                break
        return x, y, depth

    def _wedge(self, half: float) -> Points:
        """The ground between the kerbs, from below the image to the horizon."""
        far = 0.02
        corners = [(-half, 1.1), (half, 1.1), (half, far), (-half, far)]
        return [self._place(*corner) for corner in corners]


def _box(x: float, y: float, width: float, height: float) -> Points:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _scaled(outline: list[tuple[float, float]], x: float, foot: float, tall: float) -> Points:
    return [(x + u * tall, foot + v * tall) for u, v in outline]


def _blob(random: np.random.Generator, x: float, y: float, across: float, down: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    radii = 1.0 + random.uniform(-0.14, 0.14, len(angles))
    return [
        (x + across * r * float(np.cos(a)), y + down * r * float(np.sin(a))) for a, r in zip(angles, radii, strict=True)
    ]


def _narrowest(polygon: Points) -> float:
    """The smaller side of a polygon's bounding box."""
    spread = np.ptp(np.array(polygon), axis=0)
    return float(spread.min())


def _pick(random: np.random.Generator, choices: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    return choices[int(random.integers(len(choices)))]


def _plain(color: np.ndarray) -> Texture:
    return lambda y, x: np.broadcast_to(color, (len(y), 3))


def _grain(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A fixed fine pattern of ±6: asphalt, bark, leaves. (N, 1)"""
    return (12 * np.mod(np.sin(12.9898 * x + 78.233 * y) * 43758.5453, 1) - 6)[:, None]


def _waves(
    random: np.random.Generator, length: float, waves: int = 5
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A smooth random field of about −1..1: a sum of plane waves of about the given length in pixels."""
    angles = random.uniform(0, 2 * np.pi, (waves, 2))
    lengths = length * random.uniform(0.6, 1.6, waves)

    def field(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        total = np.zeros(len(y))
        for (turn, phase), wave in zip(angles, lengths, strict=True):
            total += np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / wave + phase)
        return total / np.sqrt(waves)

    return field
