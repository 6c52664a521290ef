//! Privileged abilities: from names to the masks that the kernel takes (capabilities(7)).

use crate::{Control, PlatformError};
use caps::Capability;
use std::str::FromStr;
use std::sync::OnceLock;

/// The mask of `names`, written with or without `CAP_`.
///
/// # Errors
/// A name that doesn't exist ([`crate::ErrorKind::Invalid`]) or that this kernel doesn't have
/// ([`crate::ErrorKind::Unsupported`]).
pub(crate) fn mask(names: &[String]) -> Result<u64, PlatformError> {
    names.iter().try_fold(0, |mask, name| Ok(mask | bit(name)?))
}

fn bit(name: &str) -> Result<u64, PlatformError> {
    let full = if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
    let capability = Capability::from_str(&full)
        .map_err(|_| PlatformError::invalid(format!("`{name}` is not the name of a capability")))?;
    if u32::from(capability.index()) > last() {
        let reason = format!("this kernel doesn't have `{full}`");
        return Err(PlatformError::unsupported(Control::Capabilities, reason));
    }
    Ok(capability.bitmask())
}

/// The highest number that this kernel has, asked of itself: `/proc/sys` may be hidden here.
///
/// A number too high fails the launch, and one too low leaves abilities that are newer than this program.
pub(crate) fn last() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        let exists = |number: u32| {
            // SAFETY: answers whether the number is in the bounding set, and changes nothing.
            let answer = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number)) };
            answer >= 0
        };
        // The masks of the kernel have 64 bits; upwards from the newest that is known, most hosts answer in two calls.
        let known = (0..=u32::from(Capability::CAP_CHECKPOINT_RESTORE.index())).rev();
        let mut last = known.into_iter().find(|number| exists(*number)).unwrap_or(0);
        while last < 63 && exists(last + 1) {
            last += 1;
        }
        last
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_mask_has_a_bit_for_each_name() {
        assert_eq!(mask(&[]).unwrap(), 0);
        assert_eq!(mask(&names(&["CAP_CHOWN", "NET_BIND_SERVICE"])).unwrap(), 1 | 1 << 10);
    }

    #[test]
    fn a_name_that_does_not_exist_is_told() {
        let error = mask(&names(&["CAP_FLY"])).unwrap_err();
        assert_eq!(error.to_string(), "`CAP_FLY` is not the name of a capability");
    }

    #[test]
    fn the_names_that_policies_use_are_those_of_the_package() {
        for (index, name) in crate::capability_names().enumerate() {
            assert_eq!(usize::from(Capability::from_str(name).unwrap().index()), index);
        }
        assert_eq!(crate::capability_names().count(), caps::all().len());
    }

    #[test]
    fn the_kernel_tells_its_last_one() {
        assert!((36..64).contains(&last()));
    }
}
