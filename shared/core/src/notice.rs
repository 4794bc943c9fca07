//! How an error reads to a person: what is wrong and what to do, in their language, no internals.

use crate::frame::{ErrorBody, ErrorCode};

/// A language that notices are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Chinese, the default.
    #[default]
    Chinese,
    /// English.
    English,
}

impl Language {
    /// The best one for a BCP 47 tag; Chinese for none.
    pub fn of_tag(tag: &str) -> Self {
        let is_chinese =
            tag.is_empty() || tag.get(..2).is_some_and(|t| t.eq_ignore_ascii_case("zh"));
        if is_chinese {
            Self::Chinese
        } else {
            Self::English
        }
    }
}

/// An error as a person reads it.
pub fn error(code: ErrorCode, language: Language) -> ErrorBody {
    let (chinese, english) = texts(code);
    let message = match language {
        Language::Chinese => chinese,
        Language::English => english,
    };
    ErrorBody {
        code,
        message: message.to_owned(),
        retry_after_ms: None,
        field: None,
    }
}

/// An error in one field, as a person reads it.
pub fn error_in(code: ErrorCode, field: &str, language: Language) -> ErrorBody {
    ErrorBody {
        field: Some(field.to_owned()),
        ..error(code, language)
    }
}

#[rustfmt::skip]
fn texts(code: ErrorCode) -> (&'static str, &'static str) {
    match code {
        ErrorCode::BadFrame => ("收到的内容无法识别，请更新应用后重试。", "That could not be read. Please update the app and try again."),
        ErrorCode::UnsupportedVersion => ("应用版本不受支持，请更新应用。", "This version of the app is not supported. Please update it."),
        ErrorCode::UnknownType => ("暂不支持这个操作，请更新应用。", "This action is not supported. Please update the app."),
        ErrorCode::InvalidArgument => ("有一项内容不正确，请检查后重试。", "Something in the request is not right. Please check it and try again."),
        ErrorCode::TooLarge => ("内容太长，请缩短或分几次发送。", "That is too long. Please shorten it or send it in parts."),
        ErrorCode::Unauthenticated => ("登录已过期，请重新登录。", "Your sign-in has expired. Please sign in again."),
        ErrorCode::Forbidden => ("没有权限进行这个操作。", "You are not allowed to do this."),
        ErrorCode::NotFound => ("没有找到相应的内容。", "Nothing was found."),
        ErrorCode::RateLimited => ("发送太快了，请稍等片刻再试。", "That was too fast. Please wait a moment and try again."),
        ErrorCode::QuotaExceeded => ("今天的额度已用完，请在额度重置后再来。", "Your allowance is used up. Please come back after it resets."),
        ErrorCode::BudgetExceeded => ("预算已用完，请联系管理员。", "The budget is used up. Please contact your administrator."),
        ErrorCode::ContentBlocked => ("这条内容不能发送，请换一种说法。", "This cannot be sent. Please put it another way."),
        ErrorCode::CircuitBreakerOpen => ("老师暂时离开了，请稍后再试。", "The tutor is away for a moment. Please try again shortly."),
        ErrorCode::ProviderError => ("老师没能答上来，请重试。", "The tutor could not answer. Please try again."),
        ErrorCode::Timeout => ("等待太久没有回应，请重试。", "The answer took too long. Please try again."),
        ErrorCode::Unavailable => ("服务暂时不可用，请稍后再试。", "The service is not available right now. Please try again shortly."),
        ErrorCode::Internal => ("出了点问题，请重试。", "Something went wrong. Please try again."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_chinese_unless_another_language_is_named() {
        assert_eq!(Language::of_tag(""), Language::Chinese);
        assert_eq!(Language::of_tag("zh-CN"), Language::Chinese);
        assert_eq!(Language::of_tag("en-US"), Language::English);
        assert_eq!(Language::of_tag("导"), Language::English);
        assert!(
            error(ErrorCode::Timeout, Language::English)
                .message
                .contains("too long")
        );
    }
}
