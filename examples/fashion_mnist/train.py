#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the example network of this folder and writes every other data file in it.

    /usr/bin/python3 examples/fashion_mnist/train.py

Needs Debian's python3-torch (1.13) and dataset-fashion-mnist; nothing is downloaded.
The seed and the thread count are fixed, so the same machine writes the same weights;
another instruction set may round differently, and its accuracy then differs by a few
images in ten thousand.

--export-only writes the files again from the checkpoint in build/fashion_mnist/.
"""
import argparse
import gzip
import os
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKPOINT = os.path.join(HERE, "..", "..", "build", "fashion_mnist", "ema.pt")
DATA = "/usr/share/datasets/fashion-mnist"
MEAN, STD = 0.2860, 0.3530          # of the training pixels divided by 255
SEED = 20240
BATCH = 128
SHIFT = 2                           # pixels, in both directions
EMA_DECAY = 0.998

STEM, HEAD = 16, 160
# (output channels, stride, expansion); 28x28 -> 14x14 -> 7x7
BLOCKS = [(24, 2, 4), (24, 1, 4), (32, 2, 4), (32, 1, 4), (64, 1, 4), (64, 1, 4)]


def conv_bn(cin, cout, kernel=1, stride=1, groups=1, relu=True):
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
              nn.BatchNorm2d(cout)]
    return layers + [nn.ReLU6(inplace=True)] if relu else layers


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expansion):
        super().__init__()
        hidden = cin * expansion
        self.body = nn.Sequential(*conv_bn(cin, hidden),
                                  *conv_bn(hidden, hidden, 3, stride, hidden),
                                  *conv_bn(hidden, cout, relu=False))
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def make_net():
    layers, channels = conv_bn(1, STEM, 3), STEM
    for cout, stride, expansion in BLOCKS:
        layers.append(InvertedResidual(channels, cout, stride, expansion))
        channels = cout
    layers += conv_bn(channels, HEAD)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(HEAD, 10)]
    return nn.Sequential(*layers)


def read_idx(name):
    with gzip.open(os.path.join(DATA, name)) as f:
        raw = f.read()
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def normalise(images):
    """uint8 [n, 28, 28] -> float32 [n, 1, 28, 28]: the network's input."""
    table = ((np.arange(256) / 255.0 - MEAN) / STD).astype(np.float32)
    return table[images][:, None]


def augment(padded, index, rng):
    """Random shift and horizontal flip, on raw pixels, so that what moves in is black."""
    n = len(index)
    rows = rng.integers(0, 2 * SHIFT + 1, n)[:, None] + np.arange(28)
    cols = rng.integers(0, 2 * SHIFT + 1, n)[:, None] + np.arange(28)
    flip = rng.random(n) < 0.5
    cols[flip] = cols[flip, ::-1]
    return padded[index[:, None, None], rows[:, :, None], cols[:, None, :]]


@torch.no_grad()
def accuracy(net, x, labels):
    net.eval()
    out = torch.cat([net(torch.from_numpy(x[i:i + 500])) for i in range(0, len(x), 500)])
    return float((out.argmax(1).numpy() == labels).mean())


def train(epochs):
    images, labels = read_idx("train-images-idx3-ubyte.gz"), read_idx("train-labels-idx1-ubyte.gz")
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    labels = torch.from_numpy(labels.astype(np.int64))
    rng = np.random.default_rng(SEED)
    net, ema = make_net().to(memory_format=torch.channels_last), make_net()
    ema.load_state_dict(net.state_dict())

    decayed = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 5e-4},
                                 {"params": rest, "weight_decay": 0.0}],
                                lr=0.1, momentum=0.9, nesterov=True)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=epochs * steps, pct_start=0.25,
        cycle_momentum=False, div_factor=15, final_div_factor=300)
    begin = time.time()
    for epoch in range(epochs):
        net.train()
        order = rng.permutation(len(images))
        loss_sum = 0.0
        for step in range(steps):
            index = order[step * BATCH:(step + 1) * BATCH]
            x = torch.from_numpy(normalise(augment(padded, index, rng)))
            x = x.contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(x), labels[torch.from_numpy(index)], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
            with torch.no_grad():
                target = net.state_dict()
                for name, value in ema.state_dict().items():
                    if value.dtype.is_floating_point:
                        value.lerp_(target[name], 1 - EMA_DECAY)
        print(f"epoch {epoch + 1}/{epochs}: loss {loss_sum / steps:.4f}, "
              f"{time.time() - begin:.0f} s", flush=True)
        os.makedirs(os.path.dirname(CHECKPOINT), exist_ok=True)
        torch.save(ema.state_dict(), CHECKPOINT)
    return ema


def fold(net):
    """A copy of the network with every batch normalization folded into its convolution."""
    def fuse(seq):
        out = []
        for layer in seq:
            if isinstance(layer, nn.BatchNorm2d):
                conv = out[-1]
                gain = layer.weight / torch.sqrt(layer.running_var + layer.eps)
                fused = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size,
                                  conv.stride, conv.padding, groups=conv.groups)
                fused.weight.data = conv.weight * gain[:, None, None, None]
                fused.bias.data = layer.bias - layer.running_mean * gain
                out[-1] = fused
            elif isinstance(layer, InvertedResidual):
                block = InvertedResidual.__new__(InvertedResidual)
                nn.Module.__init__(block)
                block.body, block.residual = fuse(layer.body), layer.residual
                out.append(block)
            else:
                out.append(layer)
        return nn.Sequential(*out)
    with torch.no_grad():
        return fuse(net).eval()


def export(net, name, training):
    path = os.path.join(HERE, name)
    torch.onnx.export(net, torch.zeros(1, 1, 28, 28), path, opset_version=13,
                      training=training,
                      do_constant_folding=training == torch.onnx.TrainingMode.EVAL,
                      input_names=["x"], output_names=["logits"],
                      dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})
    print(f"{name}: {os.path.getsize(path)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export-only", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)

    if args.export_only:
        net = make_net()
        net.load_state_dict(torch.load(CHECKPOINT))
    else:
        net = train(args.epochs)
    net = net.to(memory_format=torch.contiguous_format).eval()
    folded = fold(net)

    test = normalise(read_idx("t10k-images-idx3-ubyte.gz"))
    labels = read_idx("t10k-labels-idx1-ubyte.gz").astype(np.int64)
    params = sum(p.numel() for p in folded.parameters())
    print(f"{params} parameters (folded)")
    print(f"top-1 of 10,000: {accuracy(folded, test, labels):.4f} "
          f"(not folded {accuracy(net, test, labels):.4f}); "
          f"of the first 2,000: {accuracy(folded, test[:2000], labels[:2000]):.4f}")

    export(folded, "model.onnx", torch.onnx.TrainingMode.EVAL)
    export(net, "model_bn.onnx", torch.onnx.TrainingMode.PRESERVE)
    images = read_idx("train-images-idx3-ubyte.gz")
    pick = np.sort(np.random.default_rng(SEED).choice(len(images), 256, replace=False))
    np.savez_compressed(os.path.join(HERE, "calib.npz"), x=normalise(images[pick]))
    np.savez_compressed(os.path.join(HERE, "test.npz"), x=test[:2000])
    np.save(os.path.join(HERE, "test_labels.npy"), labels[:2000])


if __name__ == "__main__":
    main()
