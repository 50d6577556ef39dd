"""A window that shows frames, and in which a box is drawn by mouse: the extra `gui` (pygame-ce).

OpenCV's own windows need its package with system libraries, which servers don't have and which shares its files with
the one that is installed here.
"""

from __future__ import annotations

import importlib.util
import os
from types import TracebackType
from typing import Any

import numpy as np

from patrack.recordings.overlay import draw_frame, panels

__all__ = ["Window", "check"]

SMALLEST = 3
"""Pixels: what is drawn smaller than that is a slip of the mouse."""
WIDEST = (1600, 900)
"""Pixels that a window takes at most; larger pictures are shown smaller."""
GREEN = (60, 220, 80)


def check(needed_for: str) -> None:
    """Stop early where no window can be opened.

    Raises:
        ImportError: pygame isn't installed.
        RuntimeError: there is no display.
    """
    if importlib.util.find_spec("pygame") is None:
        raise ImportError(f"{needed_for} needs the extra gui: pip install 'patrack[gui]'")
    if os.name == "posix" and not any(os.environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")):
        if os.uname().sysname != "Darwin":
            raise RuntimeError(f"{needed_for} needs a display, and there is none (DISPLAY is not set)")


class Window:
    """A window with frames, as a context manager.

    Args:
        title: of the window.
    """

    def __init__(self, title: str) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame, self._title, self._screen = pygame, title, None
        self._scale = 1.0

    def __enter__(self) -> Window:
        self._pygame.display.init()
        self._pygame.font.init()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pygame.quit()

    def show(self, frame: np.ndarray, box_xywh: np.ndarray, caption: str, modality: str) -> str | None:
        """Show a frame with its box.

        Args:
            frame, box_xywh, caption, modality: see `patrack.recordings.overlay.draw_frame`.

        Returns:
            What the user asks for: "end" (q, Esc, window closed), "box" (r: draw another one), or None.
        """
        self._draw(draw_frame(frame, box_xywh, caption, modality=modality)[:, :, ::-1])
        asked = None
        for event in self._pygame.event.get():
            asked = self._meaning(event) or asked
        return asked

    def select_box(self, frame: np.ndarray, modality: str) -> np.ndarray:
        """Let the user draw the target's box with the mouse, in either picture.

        Args:
            frame: (H, W, 3 or 6) uint8.
            modality: says what X is.

        Returns:
            (4,) float64 xywh, pixels.

        Raises:
            KeyboardInterrupt: the window was closed, or q or Esc pressed.
        """
        pygame = self._pygame
        pictures = panels(frame, modality)
        whole = np.concatenate(pictures, axis=1)
        height, width = frame.shape[:2]
        corner: tuple[int, int] | None = None
        self._title_says("draw a box around the target")
        self._draw(whole)
        while True:
            event = pygame.event.wait()
            if self._meaning(event) == "end":
                raise KeyboardInterrupt
            if event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
                corner = event.pos
            elif corner is not None and event.type in (pygame.MOUSEMOTION, pygame.MOUSEBUTTONUP):
                left, right = sorted((corner[0], event.pos[0]))
                top, bottom = sorted((corner[1], event.pos[1]))
                if event.type == pygame.MOUSEMOTION:
                    self._draw(whole, (left, top, right - left, bottom - top))
                    continue
                corner = None
                edges = np.array([left, top, right, bottom], np.float64) / self._scale
                edges[[0, 2]] -= edges[0] // width * width  # drawn in the picture of X
                edges = edges.clip(0, [width, height, width, height])
                box = np.array([*edges[:2], *(edges[2:] - edges[:2])])
                if (box[2:] >= SMALLEST).all():
                    self._title_says("")
                    return box
                self._draw(whole)

    def _draw(self, picture: np.ndarray, rectangle: tuple[int, int, int, int] | None = None) -> None:
        """Show a picture (h, w, 3), R, G, B, no larger than the window may be."""
        pygame = self._pygame
        height, width = picture.shape[:2]
        self._scale = min(1.0, WIDEST[0] / width, WIDEST[1] / height)
        size = round(width * self._scale), round(height * self._scale)
        surface = pygame.image.frombuffer(np.ascontiguousarray(picture).tobytes(), (width, height), "RGB")
        if self._screen is None or self._screen.get_size() != size:
            self._screen = pygame.display.set_mode(size)
            self._title_says("")
        screen: Any = self._screen
        screen.blit(surface if size == (width, height) else pygame.transform.smoothscale(surface, size), (0, 0))
        if rectangle is not None:
            pygame.draw.rect(screen, GREEN, rectangle, 2)
        pygame.display.flip()

    def _title_says(self, text: str) -> None:
        self._pygame.display.set_caption(f"{self._title}: {text}" if text else self._title)

    def _meaning(self, event: Any) -> str | None:
        pygame = self._pygame
        if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key in (pygame.K_q, pygame.K_ESCAPE)):
            return "end"
        return "box" if event.type == pygame.KEYDOWN and event.key == pygame.K_r else None
