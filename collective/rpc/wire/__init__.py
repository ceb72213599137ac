"""The protobuf wire format: messages to bytes and back."""
