// SPDX-License-Identifier: Apache-2.0

// Every exception that the library throws on purpose: you erred (LocalError), or the peer erred (PeerError).
#pragma once

#include <stdexcept>

namespace sordino {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class LocalError : public Error {
public:
    using Error::Error;
};

// An argument has a wrong length or range; the message starts with its name.
class InvalidArgument : public LocalError {
public:
    using LocalError::LocalError;
};

// A value is NaN, infinite, outside the clip, or does not fit its lane.
class ValueOutOfRange : public InvalidArgument {
public:
    using InvalidArgument::InvalidArgument;
};

class PeerError : public Error {
public:
    using Error::Error;
};

// Bytes from the other side that are truncated, oversized or not in canonical form.
class MalformedMessage : public PeerError {
public:
    using PeerError::PeerError;
};

}  // namespace sordino
