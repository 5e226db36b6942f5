#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# installed.sh PREFIX CMAKE: what `cmake --install` put under PREFIX, seen as another project sees it. Each header
# stands by itself, SORDINO_VERSION is the package's version, and find_package takes the versions that it may.
set -eu
prefix=$1
cmake=$2
compiler=${CXX:-c++}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

for header in "$prefix"/include/sordino/*.hpp; do
  echo "#include \"sordino/$(basename "$header")\"" > "$place/alone.cpp"
  "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include" "$place/alone.cpp"
done

cat > "$place/CMakeLists.txt" <<'PROJECT'
cmake_minimum_required(VERSION 3.25)
project(asks LANGUAGES CXX)
find_package(sordino ${WANTED} REQUIRED CONFIG)
message(STATUS "found ${sordino_VERSION}")
PROJECT
asks() {
  rm -rf "$place/build"
  "$cmake" -S "$place" -B "$place/build" -G "Unix Makefiles" -DCMAKE_PREFIX_PATH="$prefix" -DWANTED="$1" \
    > "$place/said.txt" 2>&1
}
version=$(sed -n 's/.*version_string = "\([0-9.]*\)".*/\1/p' "$prefix/include/sordino/version.hpp")
number=$(sed -n 's/^#define SORDINO_VERSION \([0-9]*\)$/\1/p' "$prefix/include/sordino/version.hpp")
IFS=. read -r major minor patch <<< "$version"
[ "$number" = $((major * 10000 + minor * 100 + patch)) ]
for wanted in "" "$major.$minor" "$version"; do
  asks "$wanted" || { cat "$place/said.txt"; echo "find_package(sordino $wanted) fails with $version"; exit 1; }
done
for unwanted in "$major.$((minor + 1))" "$((major + 1)).0" "$major.$minor.$((patch + 1))"; do
  if asks "$unwanted"; then echo "find_package(sordino $unwanted) takes $version"; exit 1; fi
  grep -q "version: $version" "$place/said.txt"  # it was found, and refused for its version
done
echo "installed: $(ls "$prefix"/include/sordino | wc -l) headers stand alone, versions are as they should be"
