//! Counters declared once: the field, what it means, and a walk over all of them, so that none can be left out where they are shown.

/// Declares a struct of counters. `each` gives every one's name and value, `NAMES` every name with its meaning.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* pub struct $name:ident { $(#[doc = $meaning:literal] $(#[doc = $more:literal])* pub $field:ident: u64,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct $name {
            $(#[doc = $meaning] $(#[doc = $more])* pub $field: u64,)*
        }

        impl $name {
            /// Name and meaning of every counter.
            pub const NAMES: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($meaning $(, $more)*)),)*];

            /// Takes in what another has counted.
            pub fn add(&mut self, more: &$name) {
                $(self.$field += more.$field;)*
            }

            /// Name and value of every counter.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    counters! {
        /// Two of them.
        pub struct Two {
            /// The first.
            pub one: u64,
            /// The second,
            /// on two lines.
            pub two: u64,
        }
    }

    #[test]
    fn every_counter_is_walked_over_with_its_name_and_meaning() {
        let two = Two { one: 1, two: 2 };
        assert_eq!(two.each().collect::<Vec<_>>(), [("one", 1), ("two", 2)]);
        let mut sum = two;
        sum.add(&two);
        assert_eq!(sum, Two { one: 2, two: 4 });
        assert_eq!(Two::NAMES, [("one", " The first."), ("two", " The second, on two lines.")]);
    }
}
