//! The difference of two lists of lines.

/// Lines of `old` alone with `-`, of `new` alone with `+`, in order; empty when equal.
pub fn differences(old: &[String], new: &[String]) -> Vec<String> {
    let table = common(old, new);
    let length = |i: usize, j: usize| table.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(other)) if one == other => {
                i += 1;
                j += 1;
            }
            (Some(one), other) if other.is_none() || length(i + 1, j) >= length(i, j + 1) => {
                found.push(format!("-{one}"));
                i += 1;
            }
            (_, Some(other)) => {
                found.push(format!("+{other}"));
                j += 1;
            }
            (_, None) => return found,
        }
    }
}

/// At `[i][j]`: how many lines the rests from `i` and `j` on have in common.
fn common(old: &[String], new: &[String]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i][j] = if old[i] == new[j] {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn only_what_differs_is_given() {
        assert_eq!(differences(&lines("a b c"), &lines("a b c")), Vec::<String>::new());
        assert_eq!(differences(&lines("a b c d"), &lines("a x c d e")), lines("-b +x +e"));
        assert_eq!(differences(&lines("a"), &lines("")), lines("-a"));
        assert_eq!(differences(&lines(""), &lines("a")), lines("+a"));
    }
}
