#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns images into the .npz that clquant calibrates with: float32, (pixel - mean) / std.

    make_calib.py photos/ calib.npz --name input --size 224 224 --mean 127 --std 128
    make_calib.py photos.npz calib.npz --name input --key images --first 0 --count 128 \\
        --mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 --layout nchw

The source is a folder of images (read in the order of their names; they are scaled until they
cover --size, then cropped at the centre) or an .npz with a uint8 array [n, height, width,
channels]. Mean and std are in pixel units (0 to 255), one number or one for each channel.
Needs numpy, and pillow for a folder.
"""
import argparse
import os

import numpy as np

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")


def read_folder(folder, first, count, size, gray):
    from PIL import Image, ImageOps
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(EXTENSIONS))
    names = names[first:][:count]
    if not names:
        raise SystemExit(f"make_calib: no images in {folder}")
    images = []
    for name in names:
        with Image.open(os.path.join(folder, name)) as image:
            image = ImageOps.exif_transpose(image).convert("L" if gray else "RGB")
            if size:
                image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
            images.append(np.asarray(image).reshape(image.height, image.width, -1))
    if len({i.shape for i in images}) > 1:
        raise SystemExit("make_calib: the images differ in size; give --size HEIGHT WIDTH")
    return np.stack(images)


def read_npz(path, key, first, count):
    with np.load(path, allow_pickle=False) as archive:
        keys = [k for k in archive.files if archive[k].dtype == np.uint8 and archive[k].ndim == 4]
        if key is None and len(keys) != 1:
            raise SystemExit(f"make_calib: {path} has {len(keys)} uint8 arrays [n,h,w,c]; give --key")
        return archive[key or keys[0]][first:][:count]


def per_channel(values, channels, what):
    if len(values) not in (1, channels):
        raise SystemExit(f"make_calib: --{what} needs 1 or {channels} numbers")
    return np.asarray(values, np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--name", default="input", help="the model's input (default: input)")
    parser.add_argument("--key", help="the array in the source .npz")
    parser.add_argument("--mean", type=float, nargs="+", default=[0.0])
    parser.add_argument("--std", type=float, nargs="+", default=[1.0])
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nchw")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--gray", action="store_true", help="one channel instead of RGB")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, help="default: all")
    args = parser.parse_args()

    if os.path.isdir(args.source):
        images = read_folder(args.source, args.first, args.count, args.size, args.gray)
    else:
        if args.size or args.gray:
            raise SystemExit("make_calib: --size and --gray are for a folder of images")
        images = read_npz(args.source, args.key, args.first, args.count)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) == 0:
        raise SystemExit(f"make_calib: expected uint8 [n,h,w,c], found "
                         f"{images.dtype} {list(images.shape)}")
    mean = per_channel(args.mean, images.shape[3], "mean")
    std = per_channel(args.std, images.shape[3], "std")
    if not (std != 0).all():
        raise SystemExit("make_calib: --std must not be 0")
    x = (images.astype(np.float32) - mean) / std
    if args.layout == "nchw":
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    np.savez_compressed(args.output, **{args.name: x})
    print(f"{args.output}: {args.name} float32 {list(x.shape)}, "
          f"range {x.min():.4g} to {x.max():.4g}, mean {x.mean():.4g}")


if __name__ == "__main__":
    main()
