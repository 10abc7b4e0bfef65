//! The macro that turns the declaration of a message's type into structure, default, encoding and decoding.
//!
//! ```text
//! message! {
//!     /// What the type means.
//!     pub struct MetadataRequestTopic {
//!         /// Exists in every version, is never null; its default is `Default::default()`.
//!         error_code: ErrorCode,
//!         /// Exists from version 10 on, and is dropped silently before.
//!         topic_id: TopicId [10.. ; ignorable],
//!         /// Exists in every version and may be null from version 12 on.
//!         name: Option<ByteString> [.. , null 12..],
//!         /// Exists up to version 14; setting anything but the default later is an error.
//!         replica_id: BrokerId [..=14] = BrokerId::NONE,
//!     }
//!     tagged {
//!         /// Tag 0, from version 12 on; not written if it has its default (KIP-482).
//!         0: cluster_id: Option<ByteString> [12.. ; ignorable],
//!     }
//! }
//! ```
//! Without `null`, an `Option` may be null in every version. An enclosed type has the versions of what encloses it.

/// Declares one type of a message; the module's text shows the form.
macro_rules! message {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $type:ty
                $([ $versions:expr $(, null $null:expr)? $(; $policy:ident)? ])?
                $(= $default:expr)?
            ),* $(,)?
        }
        $(tagged {
            $(
                $(#[$tagged_doc:meta])*
                $tag:literal: $tagged:ident: $tagged_type:ty
                [ $tagged_versions:expr $(; $tagged_policy:ident)? ]
                $(= $tagged_default:expr)?
            ),* $(,)?
        })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            $($($(#[$tagged_doc])* pub $tagged: $tagged_type,)*)?
        }

        /// The defaults of Kafka's schema, which fill fields that a version lacks; not necessarily a safe answer.
        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: message!(@default $($default)?),)*
                    $($($tagged: message!(@default $($tagged_default)?),)*)?
                }
            }
        }

        impl $crate::primitive::wire::Wire for $name {
            fn size_min(format: $crate::primitive::Format) -> usize {
                let tags = usize::from(format.flexible);
                tags $(+ message!(@size format, $type $(, $versions)?))*
            }

            fn encode_value(
                &self,
                encoder: &mut $crate::primitive::Encoder,
                format: $crate::primitive::Format,
            ) -> Result<(), $crate::primitive::EncodeError> {
                $(message!(@encode self, encoder, format, $name, $field
                    $([ $versions $(, null $null)? $(; $policy)? ])? = message!(@default $($default)?));)*
                let _tags = 0u32 $($(+ message!(@count_tag self, format, $name, $tagged
                    [ $tagged_versions $(; $tagged_policy)? ] = message!(@default $($tagged_default)?)))*)?;
                if format.flexible {
                    encoder.put_unsigned_varint(_tags);
                    $($(
                        if message!(@exists format, $tagged_versions)
                            && !$crate::primitive::wire::is(&self.$tagged, &message!(@default $($tagged_default)?))
                        {
                            encoder.put_tagged($tag, |encoder| {
                                $crate::primitive::wire::Wire::encode_value(&self.$tagged, encoder, format)
                            })?;
                        }
                    )*)?
                }
                Ok(())
            }

            fn decode_value(
                decoder: &mut $crate::primitive::Decoder,
                format: $crate::primitive::Format,
            ) -> Result<Self, $crate::primitive::DecodeError> {
                #[allow(unused_mut, reason = "only tagged fields are assigned later")]
                let mut value = Self {
                    $($field: message!(@decode decoder, format
                        $([ $versions $(, null $null)? ])? = message!(@default $($default)?)),)*
                    $($($tagged: message!(@default $($tagged_default)?),)*)?
                };
                let mut tags = decoder.read_tags(format)?;
                while let Some(tag) = decoder.next_tag(&mut tags)? {
                    match tag.number {
                        $($($tag if message!(@exists format, $tagged_versions) => {
                            value.$tagged = $crate::primitive::wire::Wire::decode_value(decoder, format)?;
                        })*)?
                        _ => decoder.skip_tag(&tag),
                    }
                    decoder.end_tag(&tag)?;
                }
                Ok(value)
            }
        }

        #[cfg(test)]
        impl $crate::message::sample::Sample for $name {
            fn sample(
                choices: &mut $crate::message::sample::Choices<'_>,
                format: $crate::primitive::Format,
            ) -> Self {
                Self {
                    $($field: message!(@sample choices, format
                        $([ $versions $(, null $null)? ])? = message!(@default $($default)?)),)*
                    $($($tagged: message!(@sample choices, format
                        [ $tagged_versions ] = message!(@default $($tagged_default)?)),)*)?
                }
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@exists $format:ident, $versions:expr) => {
        std::ops::RangeBounds::contains(&($versions), &$format.version)
    };

    (@ignorable) => { false };
    (@ignorable ignorable) => { true };

    (@size $format:ident, $type:ty) => {
        <$type as $crate::primitive::wire::Wire>::size_min($format)
    };
    (@size $format:ident, $type:ty, $versions:expr) => {
        if message!(@exists $format, $versions) { message!(@size $format, $type) } else { 0 }
    };

    (@encode $self:ident, $encoder:ident, $format:ident, $name:ident, $field:ident = $default:expr) => {
        $crate::primitive::wire::Wire::encode_value(&$self.$field, $encoder, $format)?
    };
    (@encode $self:ident, $encoder:ident, $format:ident, $name:ident, $field:ident
        [ $versions:expr $(, null $null:expr)? $(; $policy:ident)? ] = $default:expr) => {
        if message!(@exists $format, $versions) {
            $(
                if $self.$field.is_none() && !message!(@exists $format, $null) {
                    return Err($crate::primitive::EncodeError::UnexpectedNull {
                        field: concat!(stringify!($name), ".", stringify!($field)),
                        version: $format.version,
                    });
                }
            )?
            $crate::primitive::wire::Wire::encode_value(&$self.$field, $encoder, $format)?;
        } else if !message!(@ignorable $($policy)?) && !$crate::primitive::wire::is(&$self.$field, &$default) {
            message!(@not_in_version $format, $name, $field);
        }
    };

    (@count_tag $self:ident, $format:ident, $name:ident, $field:ident
        [ $versions:expr $(; $policy:ident)? ] = $default:expr) => {
        if $crate::primitive::wire::is(&$self.$field, &$default) {
            0
        } else if message!(@exists $format, $versions) {
            1
        } else if message!(@ignorable $($policy)?) {
            0
        } else {
            message!(@not_in_version $format, $name, $field)
        }
    };

    (@sample $choices:ident, $format:ident = $default:expr) => {
        $crate::message::sample::Sample::sample($choices, $format)
    };
    (@sample $choices:ident, $format:ident [ $versions:expr $(, null $null:expr)? ] = $default:expr) => {
        if !message!(@exists $format, $versions) || $choices.is_default() {
            $default
        } else {
            #[allow(unused_mut, reason = "only nullable fields are assigned again")]
            let mut value = $crate::message::sample::Sample::sample($choices, $format);
            $(
                if !message!(@exists $format, $null) && Option::is_none(&value) {
                    value = $default;
                }
            )?
            value
        }
    };

    (@not_in_version $format:ident, $name:ident, $field:ident) => {
        return Err($crate::primitive::EncodeError::FieldNotInVersion {
            field: concat!(stringify!($name), ".", stringify!($field)),
            version: $format.version,
        })
    };

    (@decode $decoder:ident, $format:ident = $default:expr) => {
        $crate::primitive::wire::Wire::decode_value($decoder, $format)?
    };
    (@decode $decoder:ident, $format:ident [ $versions:expr ] = $default:expr) => {
        if message!(@exists $format, $versions) {
            $crate::primitive::wire::Wire::decode_value($decoder, $format)?
        } else {
            $default
        }
    };
    (@decode $decoder:ident, $format:ident [ $versions:expr, null $null:expr ] = $default:expr) => {
        if message!(@exists $format, $versions) {
            let value: Option<_> = $crate::primitive::wire::Wire::decode_value($decoder, $format)?;
            if value.is_none() && !message!(@exists $format, $null) {
                return Err($decoder.unexpected_null());
            }
            value
        } else {
            $default
        }
    };
}

/// Declares that a request and a response belong to an API.
macro_rules! exchange {
    ($key:ident: $request:ident => $response:ident) => {
        impl $crate::message::Message for $request {
            const API_KEY: $crate::api::ApiKey = $crate::api::ApiKey::$key;
        }

        impl $crate::message::Request for $request {
            type Response = $response;
        }

        impl $crate::message::Message for $response {
            const API_KEY: $crate::api::ApiKey = $crate::api::ApiKey::$key;
        }

        impl $crate::message::Response for $response {}
    };
}
