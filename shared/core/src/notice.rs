//! How an error or an alert reads to a person: what is wrong and what to do, in their language, no
//! internals.

use crate::{
    frame::{Alert, AlertKind, ErrorBody, ErrorCode},
    unit::{MicroUsd, grouped},
};

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
    /// The word in storage and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }

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

/// A limit that leaves too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhaustion<'a> {
    /// Used and held: tokens of a quota, micro-dollars of a budget.
    pub used: u64,
    /// In the same unit.
    pub limit: u64,
    /// When the next window begins, as the learner's clock shows it.
    pub resets: &'a str,
}

/// Too few tokens are left for an answer.
pub fn quota_exceeded(quota: &Exhaustion<'_>, language: Language) -> ErrorBody {
    let (used, limit, resets) = (grouped(quota.used), grouped(quota.limit), quota.resets);
    let message = match language {
        Language::Chinese => format!(
            "额度不足：已用 {used} / {limit} 个 token，{resets} 重置。请届时再来，或申请更高的额度。"
        ),
        Language::English => format!(
            "Not enough of your allowance is left: {used} of {limit} tokens are used. \
             It resets at {resets}. Please come back then, or ask for a larger one."
        ),
    };
    ErrorBody {
        message,
        ..error(ErrorCode::QuotaExceeded, language)
    }
}

/// Too little money is left for an answer.
pub fn budget_exceeded(budget: &Exhaustion<'_>, language: Language) -> ErrorBody {
    let (used, limit) = (MicroUsd::new(budget.used), MicroUsd::new(budget.limit));
    let resets = budget.resets;
    let message = match language {
        Language::Chinese => format!(
            "预算不足：已用 {used} / {limit}，{resets} 重置。请届时再来，或请管理员调高预算。"
        ),
        Language::English => format!(
            "The budget does not cover another answer: {used} of {limit} is spent. \
             It resets at {resets}. Please come back then, or ask your administrator to raise it."
        ),
    };
    ErrorBody {
        message,
        ..error(ErrorCode::BudgetExceeded, language)
    }
}

/// A share of a limit, in percent, that was passed. Used and limit are in the unit of the kind.
pub fn alert(kind: AlertKind, threshold: u32, used: u64, limit: u64, language: Language) -> Alert {
    let (shown, of) = match kind {
        AlertKind::QuotaDay | AlertKind::QuotaMonth => (grouped(used), grouped(limit)),
        AlertKind::BudgetDay | AlertKind::BudgetMonth | AlertKind::Spike => (
            MicroUsd::new(used).to_string(),
            MicroUsd::new(limit).to_string(),
        ),
    };
    #[rustfmt::skip]
    let message = match (kind, language) {
        (AlertKind::QuotaDay, Language::Chinese) => format!("今天的额度已用 {threshold}%（{shown} / {of} 个 token），请留意用量。"),
        (AlertKind::QuotaDay, Language::English) => format!("{threshold} % of today's allowance is used ({shown} of {of} tokens). Please keep an eye on it."),
        (AlertKind::QuotaMonth, Language::Chinese) => format!("本月的额度已用 {threshold}%（{shown} / {of} 个 token），请留意用量。"),
        (AlertKind::QuotaMonth, Language::English) => format!("{threshold} % of this month's allowance is used ({shown} of {of} tokens). Please keep an eye on it."),
        (AlertKind::BudgetDay, Language::Chinese) => format!("今天的预算已用 {threshold}%（{shown} / {of}），用完后需等到明天。"),
        (AlertKind::BudgetDay, Language::English) => format!("{threshold} % of today's budget is spent ({shown} of {of}). Once it is gone, please wait until tomorrow."),
        (AlertKind::BudgetMonth, Language::Chinese) => format!("本月的预算已用 {threshold}%（{shown} / {of}），用完后请联系管理员。"),
        (AlertKind::BudgetMonth, Language::English) => format!("{threshold} % of this month's budget is spent ({shown} of {of}). Once it is gone, please ask your administrator."),
        (AlertKind::Spike, Language::Chinese) => format!("几分钟内花费了 {shown}（上限 {of}）。如果不是您本人操作，请立即联系管理员。"),
        (AlertKind::Spike, Language::English) => format!("{shown} was spent within minutes, more than {of}. If that was not you, please tell your administrator at once."),
    };
    Alert {
        kind,
        message,
        threshold,
        used,
        limit,
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

    #[test]
    fn who_is_at_a_limit_reads_how_far_and_until_when() {
        let resets = "2026-11-25 00:00";
        let quota = Exhaustion {
            used: 49_950,
            limit: 50_000,
            resets,
        };
        let budget = Exhaustion {
            used: 99_999_980,
            limit: 100_000_000,
            resets,
        };
        for language in [Language::Chinese, Language::English] {
            let told = quota_exceeded(&quota, language);
            assert_eq!(told.code, ErrorCode::QuotaExceeded);
            for part in ["49,950", "50,000", resets] {
                assert!(told.message.contains(part), "{}", told.message);
            }
            let told = budget_exceeded(&budget, language);
            assert_eq!(told.code, ErrorCode::BudgetExceeded);
            for part in ["$99.99998", "$100.00", resets] {
                assert!(told.message.contains(part), "{}", told.message);
            }
        }
    }

    #[test]
    fn an_alert_reads_in_the_unit_of_its_kind() {
        for language in [Language::Chinese, Language::English] {
            for kind in AlertKind::ALL {
                let told = alert(kind, 80, 80_000_000, 100_000_000, language);
                let is_money = told.message.contains("$80.00") && told.message.contains("$100.00");
                let is_tokens = told.message.contains("80,000,000");
                let of_tokens = matches!(kind, AlertKind::QuotaDay | AlertKind::QuotaMonth);
                assert_eq!(
                    (is_tokens, is_money),
                    (of_tokens, !of_tokens),
                    "{}",
                    told.message
                );
            }
        }
    }
}
