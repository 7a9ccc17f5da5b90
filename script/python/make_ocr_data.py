#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders text for the PP-OCRv4 models: calibration and test inputs with known content.

    make_ocr_data.py OUTPUT_FOLDER

Writes, as float32 (pixel / 255 - 0.5) / 0.5 under the key `x`, the layout that the models' own
package feeds them:

    ocr_rec_calib.npz, ocr_rec_test.npz  [128 and 64, 3, 48, 320], right of the text 0
    ocr_cls_calib.npz, ocr_cls_test.npz  [128 and 64, 3, 48, 192], every other one upside down
    ocr_det_calib.npz, ocr_det_test.npz  [128 and 64, 3, 320, 320], pages of 3 to 7 lines
    ocr_det_640.npz                      [8, 3, 640, 640], for measuring time

and ocr_rec_test.json (the texts), ocr_rec_test_labels.npy (int64 [64, length], the same as the recognizer's
classes, 0 its blank, -1 behind the end; made where the model is), ocr_cls_test_labels.npy (int64, 1: upside down) and
ocr_det_test_masks.npz (uint8 [64, 320, 320] under `mask`, 1 in the lines' boxes).
Words are from the licences in /usr/share/common-licenses, mixed with numbers, dates and prices;
fonts are fonts-dejavu-core's. A fixed seed: the same fonts and pillow give the same files.
"""
import glob
import json
import os
import re
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SEED = 7
CALIB, TEST = 128, 64
FONTS = "/usr/share/fonts/truetype/dejavu/*.ttf"
TEXTS = "/usr/share/common-licenses/*"
RECOGNIZER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "models", "ch_PP-OCRv4_rec_infer.onnx")


class Writer:
    def __init__(self, rng):
        self.rng = rng
        self.fonts = [f for f in sorted(glob.glob(FONTS)) if "Math" not in f]
        texts = [t for t in sorted(glob.glob(TEXTS)) if not os.path.islink(t)]
        if not self.fonts or not texts:
            print("make_ocr_data: no fonts or no texts here. Run:\n"
                  "  apt-get install -y fonts-dejavu-core base-files", file=sys.stderr)
            sys.exit(2)
        words = set()
        for path in texts:
            with open(path, encoding="ascii", errors="ignore") as f:
                words.update(re.findall(r"[A-Za-z][a-z]{1,11}", f.read()))
        self.words = sorted(words)

    def pick(self, items):
        return items[self.rng.integers(len(items))]

    def word(self):
        r = self.rng
        kind = r.random()
        if kind < 0.7:
            return self.pick(self.words)
        if kind < 0.8:
            return str(r.integers(10 ** r.integers(1, 7)))
        if kind < 0.88:
            return f"{r.integers(1, 1000)}.{r.integers(100):02}"
        if kind < 0.94:
            return f"{r.integers(1990, 2030)}-{r.integers(1, 13):02}-{r.integers(1, 29):02}"
        return self.pick(self.words).upper()

    def phrase(self, length):
        text = self.word()
        while len(text) < length:
            text += " " + self.word()
        return text

    def font(self, size):
        return ImageFont.truetype(self.pick(self.fonts), size)

    def colours(self):
        """Paper and ink with enough contrast; one in four is light on dark."""
        paper = self.rng.integers(175, 256, 3)
        ink = self.rng.integers(0, 100, 3)
        if self.rng.random() < 0.25:
            paper, ink = ink, paper
        return tuple(int(v) for v in paper), tuple(int(v) for v in ink)

    def weather(self, image):
        """A gradient of light, a soft focus and noise, each on a part of the images."""
        r = self.rng
        if r.random() < 0.4:
            image = image.filter(ImageFilter.GaussianBlur(r.uniform(0.3, 0.9)))
        pixels = np.asarray(image).astype(np.float32)
        height, width = pixels.shape[:2]
        if r.random() < 0.5:
            ramp = (np.linspace(-1, 1, width)[None, :] * r.uniform(-25, 25)
                    + np.linspace(-1, 1, height)[:, None] * r.uniform(-25, 25))
            pixels += ramp[:, :, None]
        if r.random() < 0.4:
            pixels += r.normal(0, r.uniform(1, 8), pixels.shape)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def line(self, length):
        """One line of text as a detector would cut it out: (uint8 image, text)."""
        text = self.phrase(length)
        font = self.font(int(self.rng.integers(26, 44)))
        left, top, right, bottom = font.getbbox(text)
        pad_x, pad_y = self.rng.integers(2, 9, 2)
        paper, ink = self.colours()
        image = Image.new("RGB", (int(right - left + 2 * pad_x), int(bottom - top + 2 * pad_y)), paper)
        ImageDraw.Draw(image).text((int(pad_x) - left, int(pad_y) - top), text, ink, font)
        if self.rng.random() < 0.4:
            image = image.rotate(self.rng.uniform(-1.2, 1.2), Image.Resampling.BICUBIC, fillcolor=paper)
        return self.weather(image), text

    def page(self, size):
        """Several lines on one page: (uint8 image, mask of the lines' boxes)."""
        r = self.rng
        paper, ink = self.colours()
        image = Image.new("RGB", (size, size), paper)
        mask = np.zeros((size, size), np.uint8)
        draw = ImageDraw.Draw(image)
        y = int(r.integers(4, size // 8))
        for _ in range(int(r.integers(3, 8)) * size // 320):
            font = self.font(int(r.integers(14, 40)))
            x = int(r.integers(4, size // 3))
            text = self.phrase(int(r.integers(3, 26)))
            while len(text) > 2 and x + font.getlength(text) > size - 4:
                text = text[:-1].rstrip()
            left, top, right, bottom = (int(v) for v in draw.textbbox((x, y), text, font))
            if bottom > size - 4:
                break
            draw.text((x, y), text, ink, font)
            mask[top:bottom, left:right] = 1
            y = bottom + int(r.integers(6, 40))
        return self.weather(image), mask


def normalise(pixels):
    return ((pixels.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5))


def fit(pixels, height, width):
    """Scaled to the height; narrower lines are followed by 0, wider ones are squeezed."""
    h, w = pixels.shape[:2]
    scaled = min(width, -(-height * w // h))
    image = Image.fromarray(pixels).resize((scaled, height), Image.Resampling.BILINEAR)
    out = np.zeros((3, height, width), np.float32)
    out[:, :, :scaled] = normalise(np.asarray(image)).transpose(2, 0, 1)
    return out


def label_texts(texts):
    """The texts as classes of the recognizer, whose metadata lists its characters; None without the model."""
    if not os.path.exists(RECOGNIZER):
        return None
    import onnx
    metadata = {p.key: p.value for p in onnx.load(RECOGNIZER).metadata_props}
    code = {c: i + 1 for i, c in enumerate(metadata["character"].splitlines() + [" "])}
    labels = np.full((len(texts), max(map(len, texts))), -1, np.int64)
    for row, text in zip(labels, texts):
        row[:len(text)] = [code[c] for c in text]
    return labels


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)

    def save(name, **arrays):
        np.savez_compressed(os.path.join(folder, name), **arrays)
        print(name, {k: list(v.shape) for k, v in arrays.items()}, flush=True)

    w = Writer(np.random.default_rng(SEED))
    pages = [w.page(320) for _ in range(CALIB + TEST)]
    x = np.stack([normalise(p).transpose(2, 0, 1) for p, _ in pages])
    save("ocr_det_calib.npz", x=x[:CALIB])
    save("ocr_det_test.npz", x=x[CALIB:])
    save("ocr_det_test_masks.npz", mask=np.stack([m for _, m in pages[CALIB:]]))
    save("ocr_det_640.npz", x=np.stack([normalise(w.page(640)[0]).transpose(2, 0, 1) for _ in range(8)]))

    x = []
    for i in range(CALIB + TEST):
        pixels, _ = w.line(int(w.rng.integers(3, 14)))
        x.append(fit(pixels[::-1, ::-1] if i % 2 else pixels, 48, 192))
    save("ocr_cls_calib.npz", x=np.stack(x[:CALIB]))
    save("ocr_cls_test.npz", x=np.stack(x[CALIB:]))
    np.save(os.path.join(folder, "ocr_cls_test_labels.npy"),
            np.arange(CALIB, CALIB + TEST, dtype=np.int64) % 2)

    lines = [w.line(int(w.rng.integers(3, 18))) for _ in range(CALIB + TEST)]
    x = np.stack([fit(pixels, 48, 320) for pixels, _ in lines])
    with open(os.path.join(folder, "ocr_rec_test.json"), "w", encoding="utf-8") as f:
        json.dump([text for _, text in lines[CALIB:]], f, indent=0)
    labels = label_texts([text for _, text in lines[CALIB:]])
    if labels is not None:
        np.save(os.path.join(folder, "ocr_rec_test_labels.npy"), labels)
    save("ocr_rec_calib.npz", x=x[:CALIB])
    save("ocr_rec_test.npz", x=x[CALIB:])


if __name__ == "__main__":
    main()
