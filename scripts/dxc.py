"""Compiles every NAME.hlsl of a folder with Microsoft's DXC, as Direct3D 12 would, each entry point as cs_6_0, or as cs_6_2
where numbers have 16 bits.

usage: dxc.py LIBDXCOMPILER FOLDER

DXC is a COM library; only three of its methods are needed, so they are called through their place in the vtable.
"""

import ctypes
import pathlib
import re
import sys
import uuid

ENTRY = re.compile(r"\[numthreads\([^)]*\)\]\s*void\s+(\w+)")
HALF = re.compile(r"\bhalf[234]?\b")
UTF8 = 65001
# Off Windows, DXC's IUnknown has a virtual destructor, which takes two places behind its three methods.
RELEASE, FIRST, SECOND, THIRD = 2, 5, 6, 7


class DxcBuffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def guid(text):
    return ctypes.create_string_buffer(uuid.UUID(text).bytes_le, 16)


CLSID_COMPILER = guid("73e22d93-e6ce-47f3-b5bf-f0664f39c1b0")
IID_COMPILER3 = guid("228b4687-5a6a-4730-900c-9702b2203f54")
IID_RESULT = guid("58346cda-dde7-4497-9461-6f87af5e0659")


def method(this, index, result, *types):
    """The virtual method at `index` of a COM object's vtable."""
    vtable = ctypes.cast(this, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    function = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *types)(vtable[index])
    return lambda *arguments: function(this, *arguments)


def check(status, what):
    if status < 0:
        raise OSError(f"{what} failed: {status & 0xFFFFFFFF:#010x}")


def blob(this):
    if not this:
        return b""
    data = method(this, FIRST, ctypes.c_void_p)()
    size = method(this, SECOND, ctypes.c_size_t)()
    content = ctypes.string_at(data, size)
    method(this, RELEASE, ctypes.c_uint32)()
    return content


def compile_entry(compiler, source, entry):
    """Returns the compiled bytes, or raises with DXC's words."""
    model = ["cs_6_2", "-enable-16bit-types"] if HALF.search(source.decode()) else ["cs_6_0"]
    arguments = ["-T", *model, "-E", entry, "-HV", "2018", "-no-warnings"]
    array = (ctypes.c_wchar_p * len(arguments))(*arguments)
    result = ctypes.c_void_p()
    buffer = DxcBuffer(source, len(source), UTF8)
    pointer = ctypes.c_void_p
    run = method(compiler, FIRST, ctypes.c_int32, pointer, pointer, ctypes.c_uint32, pointer, pointer, pointer)
    check(run(ctypes.byref(buffer), array, len(arguments), None, IID_RESULT, ctypes.byref(result)), "IDxcCompiler3::Compile")
    status, code, errors = ctypes.c_int32(), ctypes.c_void_p(), ctypes.c_void_p()
    check(method(result, FIRST, ctypes.c_int32, pointer)(ctypes.byref(status)), "GetStatus")
    check(method(result, SECOND, ctypes.c_int32, pointer)(ctypes.byref(code)), "GetResult")
    check(method(result, THIRD, ctypes.c_int32, pointer)(ctypes.byref(errors)), "GetErrorBuffer")
    compiled, words = blob(code), blob(errors).rstrip(b"\0").decode(errors="replace")
    method(result, RELEASE, ctypes.c_uint32)()
    if status.value < 0 or not compiled.startswith(b"DXBC"):
        raise ValueError(words or "no bytecode")
    return compiled


def main():
    library, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    create = ctypes.CDLL(library).DxcCreateInstance
    create.restype = ctypes.c_int32
    compiler = ctypes.c_void_p()
    check(create(CLSID_COMPILER, IID_COMPILER3, ctypes.byref(compiler)), "DxcCreateInstance")
    files = sorted(folder.glob("*.hlsl"))
    passed = failed = 0
    for file in files:
        source = file.read_bytes()
        entries = ENTRY.findall(source.decode())
        if not entries:
            failed += 1
            print(f"{file.name}: no entry point", file=sys.stderr)
        for entry in entries:
            try:
                compile_entry(compiler, source, entry)
                passed += 1
            except ValueError as error:
                failed += 1
                print(f"{file.name}: {entry}: {error}", file=sys.stderr)
    print(f"dxc: {passed} entry points of {len(files)} HLSL files compiled, {failed} failed")
    return 0 if passed and not failed else 1


sys.exit(main())
