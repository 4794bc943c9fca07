//! What the queues refuse, and the names that AWS gives to it.

/// Why a queue operation failed. All but the last four are the caller's fault and fail again if
/// repeated.
#[derive(Debug, thiserror::Error)]
pub enum SqsError {
    /// No queue has this name.
    #[error("the specified queue does not exist")]
    QueueDoesNotExist,
    /// A queue of this name exists with other attributes.
    #[error("a queue already exists with the same name and a different value for attribute {0}")]
    QueueNameExists(&'static str),
    /// The string is no receipt handle of this queue.
    #[error("the input receipt handle is invalid")]
    ReceiptHandleIsInvalid,
    /// The message is already visible again, so its visibility cannot change.
    #[error("the message referred to isn't in flight")]
    MessageNotInflight,
    /// The body or an attribute holds a character outside `#x9 | #xA | #xD | #x20 to #xD7FF |
    /// #xE000 to #xFFFD | #x10000 to #x10FFFF`.
    #[error("invalid characters found in {0}")]
    InvalidMessageContents(String),
    /// A queue attribute that does not exist, or not for this type of queue.
    #[error("unknown attribute {0}")]
    InvalidAttributeName(String),
    /// A queue attribute with a value out of range.
    #[error("invalid value for the parameter {0}")]
    InvalidAttributeValue(String),
    /// A required parameter is absent.
    #[error("the request must contain the parameter {0}")]
    MissingParameter(&'static str),
    /// A parameter is out of range; the reason is part of the text, as AWS writes it.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// An operation that is not served.
    #[error("the operation {0} is not supported")]
    UnsupportedOperation(String),
    /// Too many messages of a standard queue are in flight.
    #[error("too many messages in flight: the limit is 120000")]
    OverLimit,
    /// A batch without entries.
    #[error("there should be at least one entry in the request")]
    EmptyBatchRequest,
    /// A batch of more than ten entries.
    #[error("maximum number of entries per request are 10, you have sent {0}")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch with one id.
    #[error("id {0} repeated")]
    BatchEntryIdsNotDistinct(String),
    /// An entry id that is not 1 to 80 of letters, digits, hyphens and underscores.
    #[error(
        "a batch entry id can only contain alphanumeric characters, hyphens and underscores, \
         and be at most 80 letters long"
    )]
    InvalidBatchEntryId,
    /// A batch whose messages together exceed 1 MiB.
    #[error("batch requests cannot be longer than 1048576 bytes, you have sent {0} bytes")]
    BatchRequestTooLong(usize),
    /// A message move names a queue that does not exist or is nobody's dead-letter queue.
    #[error("{0}")]
    ResourceNotFound(&'static str),
    /// The request is not the JSON that the operation takes.
    #[error("the request body cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// What is stored cannot be read back.
    #[error("stored queue data cannot be read")]
    Corrupt(#[source] serde_json::Error),
    /// The database file was written by a program with another layout.
    #[error("the queue file has layout {0}, which this program does not know")]
    UnknownLayout(i64),
    /// `SQLite` failed; the operation had no effect and may be repeated.
    #[error("queue storage failed")]
    Storage(#[from] rusqlite::Error),
    /// The process is shutting down, or the operation panicked.
    #[error("the operation was stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

impl SqsError {
    /// A parameter out of range, in AWS's words.
    pub(super) fn invalid(parameter: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::InvalidParameterValue(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
        ))
    }

    /// The name of the error in the JSON protocol, behind `com.amazonaws.sqs#`.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist => "QueueDoesNotExist",
            Self::QueueNameExists(_) => "QueueNameExists",
            Self::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Self::MessageNotInflight => "MessageNotInflight",
            Self::InvalidMessageContents(_) => "InvalidMessageContents",
            Self::InvalidAttributeName(_) => "InvalidAttributeName",
            Self::InvalidAttributeValue(_) => "InvalidAttributeValue",
            Self::MissingParameter(_) => "MissingParameter",
            Self::InvalidParameterValue(_) => "InvalidParameterValue",
            Self::UnsupportedOperation(_) => "UnsupportedOperation",
            Self::OverLimit => "OverLimit",
            Self::EmptyBatchRequest => "EmptyBatchRequest",
            Self::TooManyEntriesInBatchRequest(_) => "TooManyEntriesInBatchRequest",
            Self::BatchEntryIdsNotDistinct(_) => "BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId => "InvalidBatchEntryId",
            Self::BatchRequestTooLong(_) => "BatchRequestTooLong",
            Self::ResourceNotFound(_) => "ResourceNotFoundException",
            Self::Malformed(_) => "SerializationException",
            Self::Corrupt(_) | Self::UnknownLayout(_) | Self::Storage(_) | Self::Stopped(_) => {
                "InternalFailure"
            }
        }
    }

    /// The name of the error in the older query protocol: SDKs still show this one.
    pub(super) fn query_code(&self) -> String {
        let shape = self.shape();
        match self {
            Self::QueueDoesNotExist => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
            Self::QueueNameExists(_) => "QueueAlreadyExists".to_owned(),
            Self::MessageNotInflight
            | Self::UnsupportedOperation(_)
            | Self::EmptyBatchRequest
            | Self::TooManyEntriesInBatchRequest(_)
            | Self::BatchEntryIdsNotDistinct(_)
            | Self::InvalidBatchEntryId
            | Self::BatchRequestTooLong(_) => format!("AWS.SimpleQueueService.{shape}"),
            _ => shape.to_owned(),
        }
    }

    /// Whether the caller is at fault (HTTP 400) rather than the queue (HTTP 500).
    pub(super) fn is_senders_fault(&self) -> bool {
        !matches!(self, Self::Corrupt(_) | Self::Storage(_) | Self::Stopped(_))
    }

    /// The text as AWS writes it: a sentence.
    pub(super) fn sentence(&self) -> String {
        let text = match self {
            Self::Malformed(source) => format!("{self}: {source}"),
            _ => self.to_string(),
        };
        let mut letters = text.chars();
        let Some(first) = letters.next() else {
            return text;
        };
        let stop = if text.ends_with('.') { "" } else { "." };
        format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
    }
}
