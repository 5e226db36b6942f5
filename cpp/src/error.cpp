#include "sordino/error.hpp"

namespace sordino {

Error::~Error() = default;
LocalError::~LocalError() = default;
InvalidArgument::~InvalidArgument() = default;
ValueOutOfRange::~ValueOutOfRange() = default;
PeerError::~PeerError() = default;
MalformedMessage::~MalformedMessage() = default;

}  // namespace sordino
