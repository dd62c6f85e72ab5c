#!/bin/sh
# Builds the images of this folder and writes them as ../boot-images-data.ts. Needs GNU as and ld with 32-bit x86 support.
set -e
cd "$(dirname "$0")"
out=../boot-images-data.ts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  echo '/** Guest images in hexadecimal. Written by boot-images/build.sh from the sources in that folder. */'
  echo 'export const bootImageText = {'
  for source in *.S; do
    name=${source%.S}
    as --32 -o "$work/$name.o" "$source"
    ld -m elf_i386 --no-warn-rwx-segments -n -s -T image.ld -o "$work/$name.elf" "$work/$name.o"
    echo "  '$name.elf': \`"
    od -An -v -tx1 -w40 "$work/$name.elf" | sed 's/ //g'
    echo '`,'
  done
  echo '} as const;'
} > "$out"
