# SPDX-License-Identifier: Apache-2.0
# Writes the golden arrays with numpy: every array holds 0, 1, 2, ... in its own order and type.
import os
import numpy as np

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "npy")
os.makedirs(here, exist_ok=True)


def ramp(shape, dtype):
    n = int(np.prod(shape))
    return (np.arange(n) % 2 == 1 if dtype == "?" else np.arange(n)).astype(dtype).reshape(shape)


for dtype in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]:
    np.save(f"{here}/c_{dtype.replace('?', 'b1')}.npy", ramp((3, 4), "<" + dtype if dtype != "?" else dtype))
for dtype in [">f4", ">i2", ">u8"]:
    np.save(f"{here}/big_{dtype[1:]}.npy", ramp((3, 4), dtype))
np.save(f"{here}/fortran_f4.npy", np.asfortranarray(ramp((2, 3, 4), "<f4")))
np.save(f"{here}/fortran_big_i4.npy", np.asfortranarray(ramp((3, 4), ">i4")))
np.save(f"{here}/scalar_f4.npy", np.asarray(7, "<f4"))
np.save(f"{here}/vector_i8.npy", ramp((3,), "<i8"))
np.save(f"{here}/empty_f4.npy", ramp((0, 3), "<f4"))
np.save(f"{here}/rank8_u1.npy", ramp((1, 2, 1, 2, 1, 2, 1, 3), "u1"))
for version in [(2, 0), (3, 0)]:
    with open(f"{here}/version{version[0]}_f4.npy", "wb") as f:
        np.lib.format.write_array(f, ramp((3, 4), "<f4"), version)
arrays = {"x": ramp((5, 3), "<f4"), "y": np.asfortranarray(ramp((5, 2, 2), ">i2")), "empty": ramp((0, 4), "i1"), "s": np.asarray(7, "<i8")}
np.savez(f"{here}/stored.npz", **arrays)
np.savez_compressed(f"{here}/deflated.npz", **arrays)
