"""The native store and sizes: built where there is a C compiler, left out where there is none."""

from glob import glob

from setuptools import Extension, setup


def extension(name: str, folder: str) -> Extension:
    """Return the extension `name` made of all C files in `folder`."""
    return Extension(
        name, sources=sorted(glob(f"{folder}/*.c")), depends=glob(f"{folder}/*.h"), optional=True
    )


setup(
    ext_modules=[
        extension("ebbcache.store._store", "src/ebbcache/store/native"),
        extension("ebbcache.sizing._sizing", "src/ebbcache/sizing/native"),
    ]
)
